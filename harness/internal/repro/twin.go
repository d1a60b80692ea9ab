package repro

import (
	"context"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"time"

	"github.com/BurntSushi/toml"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/bytecode"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/report"
)

// twinTimeout bounds the build of a bundle's sources.
const twinTimeout = 40 * time.Minute

// Twin returns the same test with the bundle's sources built once more, in the same way, with hooks at which threads can be
// delayed: the same sources, and other machine code. What the sources have to say runs without a network. Crates are fetched
// before, from crates.io alone unless the bundle is trusted.
func (p *Prepared) Twin(ctx context.Context, e *engine.Engine, trusted bool, emit report.Emit) (*Prepared, error) {
	b := p.bundle
	if !trusted && !b.Full() { // a full bundle is built without a network
		if err := p.onlyFromCratesIO("so its sources are not built: run it with --limits if you trust whom it is from"); err != nil {
			return nil, err
		}
	}
	tools, network, recipe, err := p.sources(ctx, e, trusted, emit)
	if err != nil {
		return nil, err
	}
	recipe.Hooks = true
	built, err := extension.Ensure(ctx, e, tools, network, p.config.Tree, recipe, emit)
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

// sources returns how the bundle's sources are built once more: with what tools, network and recipe.
func (p *Prepared) sources(ctx context.Context, e *engine.Engine, trusted bool, emit report.Emit) (image.Image, image.Network,
	extension.Recipe, error) {
	b := p.bundle
	tools, network, packages, err := Base(ctx, e, b, emit)
	env := maps.Clone(b.Run.Env)
	if !trusted {
		for name := range image.Passed(env) {
			delete(env, name)
		}
	}
	return tools, network, extension.Recipe{
		Profile: b.Build.Profile, Features: b.Build.Features, NoDefaultFeatures: b.Build.NoDefaultFeatures,
		MaturinArgs: b.Build.MaturinArgs, Env: env, Timeout: twinTimeout, On: packages, Place: "bundle-" + b.Sum,
	}, err
}

// onlyFromCratesIO returns an error if the sources make cargo fetch from anywhere else. It ends with what follows from that.
func (p *Prepared) onlyFromCratesIO(so string) error {
	refuse := func(name string) error {
		return unusable("%s of the bundle can make cargo fetch from elsewhere than crates.io, %s", name, so)
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
