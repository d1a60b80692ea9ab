package repro

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
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
	return p.bundle.Each(bundle.Sources, func(below string, _ bundle.Entry, data []byte) error {
		configuration := path.Base(path.Dir(below)) == ".cargo"
		if path.Base(below) != "Cargo.toml" && path.Base(below) != "Cargo.lock" && !configuration {
			return nil
		}
		settings := map[string]any{}
		err := toml.Unmarshal(data, &settings)
		if err != nil || fetchesElsewhere(settings, configuration) {
			return unusable("%s of the bundle can make cargo fetch from elsewhere than crates.io, so its sources are not built: "+
				"run it with --limits if you trust whom it is from", below)
		}
		return nil
	})
}

// cratesIO is the source of crates in a Cargo.lock.
const cratesIO = "registry+https://github.com/rust-lang/crates.io-index"

// fetchesElsewhere reports whether a manifest, a lock or a configuration of cargo's names another place than crates.io.
func fetchesElsewhere(settings map[string]any, configuration bool) bool {
	for key, value := range settings {
		switch key {
		case "patch", "replace":
			return true
		case "registries", "registry", "source", "net":
			if configuration {
				return true
			}
		case "package": // of a lock: a list
			packages, _ := value.([]map[string]any)
			for _, locked := range packages {
				if source, ok := locked["source"]; ok && source != cratesIO {
					return true
				}
			}
		case "dependencies", "dev-dependencies", "build-dependencies":
			specs, _ := value.(map[string]any)
			for _, spec := range specs {
				table, _ := spec.(map[string]any)
				for _, place := range []string{"git", "registry", "registry-index"} {
					if _, ok := table[place]; ok {
						return true
					}
				}
			}
		case "target", "workspace": // which have tables of dependencies in them
			if below, ok := value.(map[string]any); ok && fetchesElsewhere(below, false) {
				return true
			}
		default:
			if below, ok := value.(map[string]any); ok && fetchesElsewhere(map[string]any{"dependencies": below["dependencies"],
				"dev-dependencies": below["dev-dependencies"], "build-dependencies": below["build-dependencies"]}, false) {
				return true // target.'cfg(unix)'
			}
		}
	}
	return false
}

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
