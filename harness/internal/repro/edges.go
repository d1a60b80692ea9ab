package repro

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/report"
)

// edge is a place in instrumented code at which a thread can be delayed.
type edge struct {
	offset    uint32
	functions []report.Frame // the innermost first; the others are those that it was inlined into
}

type edges []edge

// where describes an edge by its innermost function in the sources, or by that of a library that is compiled into the crate.
func (e edge) where() string {
	for _, f := range e.functions {
		if below, ok := strings.CutPrefix(f.File, layout.Sources+"/"); ok {
			return fmt.Sprintf("%s:%d (%s)", below, f.Line, simple(f.Function))
		}
	}
	if len(e.functions) == 0 {
		return "code without a name"
	}
	return fmt.Sprintf("%s (%s)", path.Base(e.functions[0].File), simple(e.functions[0].Function))
}

// offsets returns the offsets of some edges, ascending.
func (es edges) offsets(some []int) []uint32 {
	found := []uint32{}
	for _, i := range some {
		found = append(found, es[i].offset)
	}
	slices.Sort(found)
	return found
}

// before is how many lines before a wait are near it.
const before = 2

// near returns the indices of the edges near the frames of a hang: at the lines, or in the functions and what is defined in
// these.
func (es edges) near(blocked []report.Frame, lines bool) (found []int) {
	matches := func(f report.Frame) bool {
		return slices.ContainsFunc(blocked, func(b report.Frame) bool {
			if lines {
				return f.File == b.File && f.Line <= b.Line && f.Line >= b.Line-before
			}
			name := simple(f.Function)
			inside := strings.HasPrefix(hang.Canonical(f.Function), function(b.Function)+"::")
			return f.File == b.File && (inside || name == simple(b.Function) && name != closure) // which are all alike
		})
	}
	for i, e := range es {
		if slices.ContainsFunc(e.functions, matches) {
			found = append(found, i)
		}
	}
	return found
}

// near returns the indices of the edges near the places where the threads of the hang wait.
func (p *Prepared) near(lines bool) []int {
	var frames []report.Frame
	for _, frame := range p.bundle.Test.Blocked {
		frame.File = path.Join(layout.Sources, p.config.Tree.Crate, frame.File)
		frames = append(frames, frame)
	}
	return p.edges.near(frames, lines)
}

// simple returns the last part of a function's name that is not a closure. What PyO3 generates around a function has the
// function's name.
func simple(of string) string {
	whole := function(of)
	name, _, _ := strings.Cut(whole[strings.LastIndex(whole, ":")+1:], "<") // DWARF has generic arguments, and no path
	if strings.HasPrefix(name, "{closure") {
		return closure
	}
	for _, prefix := range []string{"pymethod_", "pyfunction_"} { // some demanglers remove one of the underscores before it
		if inner, ok := strings.CutPrefix(strings.Trim(name, "_"), prefix); ok {
			return inner
		}
	}
	return name
}

// function returns the path of a function without the closures at its end.
func function(of string) string {
	parts := strings.Split(hang.Canonical(of), "::")
	for len(parts) > 1 && strings.HasPrefix(parts[len(parts)-1], "{") {
		parts = parts[:len(parts)-1]
	}
	return strings.Join(parts, "::")
}

// closure is what a function without a name is called.
const closure = "a closure"

const (
	edgesTimeout = 5 * time.Minute
	// maxEdges bounds what is kept of a crate's control flow: large ones have some hundred thousand edges.
	maxEdges = 5_000_000
)

// FindEdges finds out where threads can be delayed in modules that were compiled with hooks.
func (p *Prepared) FindEdges(ctx context.Context, e *engine.Engine) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, edgesTimeout, fmt.Errorf("find the edges of the modules: it took longer than %v", edgesTimeout))
	defer cancel()
	c, err := e.Start(ctx, engine.Spec{Image: p.config.Extension.Image, Purpose: "edges", User: layout.User, Confined: true,
		Memory: p.config.Memory, PIDs: p.config.Processes})
	if err != nil {
		return err
	}
	defer func() { _ = c.Remove(context.WithoutCancel(ctx)) }()
	for _, module := range p.config.Extension.Modules {
		file := module.Path
		if below, ok := strings.CutPrefix(file, layout.Sources+"/"); ok {
			file = path.Join(layout.BuiltTree, below)
		}
		command := engine.Command{Argv: []string{layout.Tools + "/python", "-I", layout.Agent + "/edges.py", file}}
		err := c.Read(ctx, command, func(stdout io.Reader) error {
			lines := json.NewDecoder(stdout)
			for lines.More() {
				var line json.RawMessage
				if err := lines.Decode(&line); err != nil {
					return err
				}
				found, err := parseEdge(line)
				if err != nil {
					return fmt.Errorf("%w: %.200q", err, line)
				}
				if p.edges = append(p.edges, found); len(p.edges) > maxEdges {
					return fmt.Errorf("there are more than %d", maxEdges)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("find the edges of %s: %w", module.Name, cmp.Or(context.Cause(ctx), err))
		}
	}
	slices.SortFunc(p.edges, func(a, b edge) int { return cmp.Compare(a.offset, b.offset) })
	if len(p.edges) == 0 {
		return fmt.Errorf("find the edges of the modules: there are none, so nothing could be delayed in them")
	}
	return nil
}

// parseEdge reads a line of edges.py.
func parseEdge(line []byte) (e edge, err error) {
	var functions [][3]any
	if err := json.Unmarshal(line, &[]any{&e.offset, &functions}); err != nil {
		return e, err
	}
	for _, f := range functions {
		name, _ := f[0].(string)
		file, _ := f[1].(string)
		number, _ := f[2].(float64)
		e.functions = append(e.functions, report.Frame{Function: name, Place: report.Place{File: file, Line: int(number)}})
	}
	return e, nil
}
