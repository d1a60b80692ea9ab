package extension

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/report"
)

// Built calls each with every file that the build of an extension made, by its path in the container: in the sources, and
// in the test environment. It starts a container for that, which runs none of the project's code.
func Built(ctx context.Context, e *engine.Engine, built Extension,
	each func(name string, executable bool, content io.Reader) error) (err error) {
	c, err := e.Start(ctx, engine.Spec{Image: built.Image, Purpose: "pack", User: layout.User, Confined: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Remove(context.WithoutCancel(ctx))) }()
	if err := upload(ctx, c, project.Tree{Crate: "."}); err != nil {
		return err
	}
	command := engine.Command{Argv: []string{layout.Tools + "/python", "-I", path.Join(layout.Build, "pack.py"), built.Distribution}}
	if err := c.Read(ctx, command, func(stdout io.Reader) error { return readTar(stdout, each) }); err != nil {
		return fmt.Errorf("read what was built: %w", err)
	}
	return nil
}

func readTar(from io.Reader, each func(name string, executable bool, content io.Reader) error) error {
	for archive := tar.NewReader(from); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, from) // its padding
			return err
		}
		if err == nil {
			err = each(header.Name, header.Mode&0o100 != 0, archive)
		}
		if err != nil {
			return err
		}
	}
}

// restoreTimeout bounds the installation of the packages of an earlier run: they are downloaded, and nothing is compiled.
const restoreTimeout = 15 * time.Minute

// Find returns the image of an earlier build by its id; ok is false if it is not in the engine, or is not an extension with
// just these modules.
func Find(ctx context.Context, e *engine.Engine, id string, modules []Module) (_ string, ok bool, err error) {
	found, ok, err := e.Image(ctx, id)
	var built result
	if err != nil || !ok || found.ID != id || found.Labels[keyLabel] == "" || json.Unmarshal([]byte(found.Labels[resultLabel]), &built) != nil {
		return "", false, err
	}
	return id, slices.Equal(built.Modules, modules), nil
}

// builtFiles are what a build made, to be put into another image.
type builtFiles interface {
	// Key covers all files.
	Key() string
	// Pack writes them to a tar stream to unpack at the container's root folder.
	Pack(w *tar.Writer) error
}

// Packages returns an image with packages of exact versions, on the tools image of this host. None of their code runs: they
// are wheels of the host's index, and nothing is compiled. If that image is there already, nothing is fetched.
func Packages(ctx context.Context, e *engine.Engine, tools image.Image, network image.Network, installed []string,
	emit report.Emit) (id string, err error) {
	key := project.Sum(strings.Join(append([]string{tools.ID, buildPrograms["install.py"], buildPrograms["build.py"]}, installed...), "\n"))[:16]
	return restored(ctx, e, "packages-"+key, nil, emit, func(ctx context.Context) (*engine.Container, error) {
		b := builder{engine: e, tools: tools, network: network, tree: project.Tree{Crate: ".", Workspace: "."}, emit: emit,
			installed: installed}
		return b.inContainer(ctx, network, tools.ID, nil, func(c *engine.Container) error {
			_, err := b.runBuild(ctx, c, network, "restore")
			if failed := (*Error)(nil); errors.As(err, &failed) {
				err = fmt.Errorf("%s\n\n%s%s", failed.Text, failed.Log, failed.Advice())
			}
			return err
		})
	})
}

// Restore returns an image with an extension that was built elsewhere, on one with its packages.
func Restore(ctx context.Context, e *engine.Engine, packages string, built builtFiles, emit report.Emit) (id string, err error) {
	key := project.Sum(packages + "\n" + built.Key())[:16]
	return restored(ctx, e, "restored-"+key, nil, emit, func(ctx context.Context) (*engine.Container, error) {
		spec, err := limited(ctx, e, engine.Spec{Image: packages, Purpose: "build", User: layout.User})
		if err != nil {
			return nil, err
		}
		c, err := e.Start(ctx, spec)
		if err != nil {
			return nil, err
		}
		if err := c.UploadTar(ctx, "/", built.Pack); err != nil {
			return nil, errors.Join(err, c.Remove(context.WithoutCancel(ctx)))
		}
		return c, nil
	})
}

// restoredBuilds stands in for a crate's id: the budget counts the images of all bundles under it.
const restoredBuilds = "restored"

// restored returns the image of a tag, and makes it of a container, with more variables, if it is not there. The newest of such images stay.
func restored(ctx context.Context, e *engine.Engine, tag string, env map[string]string, emit report.Emit,
	make func(context.Context) (*engine.Container, error)) (id string, err error) {
	name := repository + tag
	if err := markUsed(restoredBuilds); err != nil {
		return "", err
	}
	if found, ok, err := e.Made(ctx, name); ok || err != nil {
		return found.ID, err
	}
	waiting := func() {
		emit(report.Note{Topic: "build", Text: "another process prepares the same bundle: waiting for it"})
	}
	unlock, err := cache.Lock(ctx, tag, waiting)
	if err != nil {
		return "", err
	}
	defer unlock()
	if found, ok, err := e.Made(ctx, name); ok || err != nil {
		return found.ID, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, restoreTimeout, fmt.Errorf("no image of the bundle within %v", restoreTimeout))
	defer cancel()
	c, err := make(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Remove(context.WithoutCancel(ctx))) }()
	labels := Unlisted()
	labels[environmentLabel] = restoredBuilds
	if id, err = c.Commit(ctx, name, labels, env); err != nil {
		return "", err
	}
	return id, prune(ctx, e, environmentLabel, restoredBuilds)
}
