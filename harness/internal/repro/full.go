package repro

import (
	"context"
	"fmt"
	"io"
	"strings"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/report"
)

// SaveFull writes the bundle to a file with all that its test needs from elsewhere: an image with Python, Rust, the tools and
// the bundle's packages, and the crates that its sources are built from. A machine with a Docker engine then needs no network
// to run it. It is an error if the crates come from elsewhere than crates.io.
func (p *Prepared) SaveFull(ctx context.Context, e *engine.Engine, file string, trusted bool, emit report.Emit) error {
	b := p.bundle
	if err := p.onlyFromCratesIO("and a full bundle has the crates of crates.io alone"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, twinTimeout, fmt.Errorf("no full bundle within %v", twinTimeout))
	defer cancel()
	tools, network, recipe, err := p.sources(ctx, e, trusted, emit)
	if err != nil {
		return err
	}
	on, ok, err := e.Image(ctx, recipe.On)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("image %s no longer exists: run again", recipe.On)
	}
	its := bundle.Image{Architecture: on.Architecture, Env: on.Env, Labels: tools.Labels()}
	err = extension.Vendored(ctx, e, tools, network, p.config.Tree, recipe, emit, func(root io.Reader) error {
		return b.SaveFull(file, its, func(to io.Writer) error { return bundle.CopyRoot(to, root, maxRoot) })
	})
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return err
}

// maxRoot bounds the files of an image, in bytes.
const maxRoot = 64 << 30

// load returns the image of a full bundle, as tools and with its packages.
func load(ctx context.Context, e *engine.Engine, b *bundle.Bundle, emit report.Emit) (image.Image, error) {
	its, err := b.Image()
	if err != nil {
		return image.Image{}, err
	}
	env := map[string]string{}
	key := its.SHA256
	for _, entry := range its.Env {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
		key = project.Sum(key + "\n" + entry)
	}
	root := func(to io.Writer) error { return b.Layer(its, to) }
	id, err := extension.Load(ctx, e, key, root, env, agent.Programs(), emit)
	if err != nil {
		return image.Image{}, fmt.Errorf("load the bundle's image: %w", err)
	}
	return image.Labelled(id, its.Labels), nil
}
