package repro

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/bytecode"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/report"
)

// twinTimeout bounds the build of a bundle's sources.
const twinTimeout = 40 * time.Minute

// Twin returns the same test with the bundle's sources built once more, in the same way, with hooks at which threads can be
// delayed: the same sources, and other machine code. What the sources have to say runs without a network. Crates are fetched
// before, from crates.io alone unless the bundle is trusted.
func (p *Prepared) Twin(ctx context.Context, e *engine.Engine, trusted bool, emit report.Emit) (*Prepared, error) {
	b := p.bundle
	if !trusted {
		if err := p.onlyFromCratesIO(); err != nil {
			return nil, err
		}
	}
	tools, network, packages, err := Base(ctx, e, b, emit)
	if err != nil {
		return nil, err
	}
	env := maps.Clone(b.Run.Env)
	if !trusted {
		for name := range image.Passed(env) {
			delete(env, name)
		}
	}
	built, err := extension.Ensure(ctx, e, tools, network, p.config.Tree, extension.Recipe{
		Profile: b.Build.Profile, Features: b.Build.Features, NoDefaultFeatures: b.Build.NoDefaultFeatures,
		MaturinArgs: b.Build.MaturinArgs, Env: env, Timeout: twinTimeout, On: packages, Hooks: true, Place: "bundle-" + b.Sum,
	}, emit)
	if err != nil {
		return nil, fmt.Errorf("build the bundle's sources with hooks: %w", err)
	}
	store, err := bytecode.Open("twin-"+b.Sum[:16], p.config.Tree)
	if err != nil {
		return nil, err
	}
	twin := *p
	twin.config.Extension, twin.config.Bytecode = built, store
	return &twin, twin.FindEdges(ctx, e)
}

// onlyFromCratesIO returns an error if the sources make cargo fetch from anywhere else.
func (p *Prepared) onlyFromCratesIO() error {
	refuse := func(name string) error {
		return unusable("%s of the bundle can make cargo fetch from elsewhere than crates.io, so its sources are not built: "+
			"run it with --limits if you trust whom it is from", name)
	}
	for name := range p.bundle.Links {
		if path.Base(name) == ".cargo" || forCargo(name) {
			return refuse(name)
		}
	}
	return p.bundle.Each(bundle.Sources, func(below string, _ bundle.Entry, data []byte) error {
		settings := map[string]any{}
		if forCargo(below) && (toml.Unmarshal(data, &settings) != nil || fetchesElsewhere(path.Base(below), settings)) {
			return refuse(below)
		}
		return nil
	})
}

// forCargo reports whether cargo reads a file of this name.
func forCargo(name string) bool {
	base := path.Base(name)
	return base == "Cargo.toml" || base == "Cargo.lock" || path.Base(path.Dir(name)) == ".cargo"
}

// cratesIO is the source of crates in a Cargo.lock.
const cratesIO = "registry+https://github.com/rust-lang/crates.io-index"

// fetchesElsewhere reports whether a manifest, a lock or a configuration of cargo's names another place than crates.io.
func fetchesElsewhere(file string, settings map[string]any) bool {
	names := func(keys ...string) bool {
		return slices.ContainsFunc(keys, func(key string) bool { return settings[key] != nil })
	}
	switch file {
	case "Cargo.toml":
		return names("patch", "replace") || dependsElsewhere(settings)
	case "Cargo.lock":
		packages, ok := settings["package"].([]map[string]any)
		return settings["package"] != nil && !ok || slices.ContainsFunc(packages, func(locked map[string]any) bool {
			return locked["source"] != nil && locked["source"] != cratesIO
		})
	}
	return names("registries", "registry", "source", "net", "patch", "include")
}

// dependsElsewhere reports whether a table of a manifest has, anywhere in it, a dependency from another place.
func dependsElsewhere(table map[string]any) bool {
	for key, value := range table {
		below, ok := value.(map[string]any)
		if !ok {
			continue
		}
		if dependencies.MatchString(key) {
			for _, spec := range below {
				if its, ok := spec.(map[string]any); ok && (its["git"] != nil || its["registry"] != nil || its["registry-index"] != nil) {
					return true
				}
			}
		}
		if dependsElsewhere(below) {
			return true
		}
	}
	return false
}

// dependencies matches the names of the tables in which a manifest has them.
var dependencies = regexp.MustCompile(`^((dev|build)[-_])?dependencies$`)

// FindEdges finds out where threads can be delayed in modules that were compiled with hooks.
func (p *Prepared) FindEdges(ctx context.Context, e *engine.Engine) (err error) {
	c, err := e.Start(ctx, engine.Spec{Image: p.config.Extension.Image, Purpose: "edges", User: layout.User, Confined: true})
	if err != nil {
		return err
	}
	defer func() { _ = c.Remove(context.WithoutCancel(ctx)) }()
	for _, module := range p.config.Extension.Modules {
		file := module.Path
		if below, ok := strings.CutPrefix(file, layout.Sources+"/"); ok {
			file = path.Join(layout.BuiltTree, below)
		}
		var said bytes.Buffer
		argv := []string{layout.Tools + "/python", "-I", layout.Agent + "/edges.py", file}
		if err := image.Run(ctx, c, engine.Command{Argv: argv}, nil, &said); err != nil {
			return fmt.Errorf("find the edges of %s: %w: %.500s", module.Name, err, said.String())
		}
		for line := range bytes.Lines(said.Bytes()) {
			found, err := parseEdge(line)
			if err != nil {
				return fmt.Errorf("find the edges of %s: %w: %.200q", module.Name, err, line)
			}
			p.edges = append(p.edges, found)
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
