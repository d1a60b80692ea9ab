package extension

import (
	"context"
	"errors"
	"io"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/report"
)

// Vendored calls save with the root file system of the image that the recipe builds on, to which the crates that the sources
// are built from have been added: on it, they can be built without a network. It runs none of the sources' code.
func Vendored(ctx context.Context, e *engine.Engine, tools image.Image, network image.Network, tree project.Tree, recipe Recipe,
	emit report.Emit, save func(root io.Reader) error) (err error) {
	b := builder{engine: e, tools: tools, network: network, tree: tree, recipe: recipe, emit: emit}
	if err := markUsed(b.id()); err != nil {
		return err
	}
	unlock, err := b.lock(ctx) // what was fetched is in the volume that builds use
	if err != nil {
		return err
	}
	defer unlock()
	volumes := map[string]engine.Volume{layout.Cache: {Name: b.volume("cache"), ReadOnly: true}}
	c, err := b.inContainer(ctx, network.Offline(), recipe.On, volumes, func(c *engine.Container) error {
		_, err := b.fetched(ctx, func() (result, error) { return b.runBuild(ctx, c, network.Offline(), "vendor") })
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Remove(context.WithoutCancel(ctx))) }()
	emit(report.Progress{Phase: "build", Text: "packing the image"})
	root, err := c.Export(ctx)
	if err != nil {
		return err
	}
	defer root.Close()
	return save(root)
}

// Load returns an image with a root file system that came from elsewhere, with the harness's programs renewed in it. The key
// covers the file system and the variables. The programs of such an image, the harness's own among them, are the work of whoever
// made it: they have no network and no privileges, and the limits of a build.
func Load(ctx context.Context, e *engine.Engine, key string, root func(io.Writer) error, env map[string]string,
	programs image.Programs, emit report.Emit) (id string, err error) {
	tag := "loaded-" + project.Sum(key + programs.Key())[:16]
	raw, imported := repository+tag+"-raw", false
	defer func() {
		if imported { // it loses its name: the image on top of it keeps it
			err = errors.Join(err, e.RemoveImage(context.WithoutCancel(ctx), raw))
		}
	}()
	return restored(ctx, e, tag, env, emit, func(ctx context.Context) (*engine.Container, error) {
		emit(report.Progress{Phase: "build", Text: "loading the bundle's image"})
		reader, writer := io.Pipe()
		go func() { writer.CloseWithError(root(writer)) }()
		err := e.Import(ctx, raw, reader, []string{"LABEL " + engine.Label + "=image " + environmentLabel + "=" + restoredBuilds})
		reader.CloseWithError(errors.Join(errors.New("the import ended"), err))
		if err != nil {
			return nil, err
		}
		imported = true
		spec, err := limited(ctx, e, engine.Spec{Image: raw, Purpose: "load", User: "0:0"})
		if err != nil {
			return nil, err
		}
		c, err := e.Start(ctx, spec)
		if err != nil {
			return nil, err
		}
		if err := programs.Renew(ctx, c, env, emit); err != nil {
			return nil, errors.Join(err, c.Remove(context.WithoutCancel(ctx)))
		}
		return c, nil
	})
}
