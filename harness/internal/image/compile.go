package image

import (
	"context"
	"fmt"
	"os"
	"strings"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/report"
	"pyo3test/images"
)

// fromSource reports whether the base's Python is compiled from CPython's source, as free-threaded builds are.
func (p pinned) fromSource() bool {
	_, _, ok := images.Source(p.version)
	return ok && os.Getenv(BaseVariable) == ""
}

// below returns the pins of the base that a compiled Python is put on.
func (p pinned) below() pinned {
	p.version = DefaultPython
	return p
}

// compiledName returns the name of the base with a compiled Python on another base.
func compiledName(version string, on Image) string {
	release, sha256, _ := images.Source(version)
	return repository + "base:cpython-" + hash(on.BaseID, asset("cpython.sh"), release, sha256, images.Pins()["CPYTHON_PACKAGES"])
}

// compile makes the base with a compiled Python, and first the base that it is put on.
func compile(ctx context.Context, e *engine.Engine, network Network, pins pinned, emit report.Emit) (Image, error) {
	on, err := base(ctx, e, network, pins.below(), emit)
	if err != nil {
		return Image{}, err
	}
	name := compiledName(pins.version, on)
	version, sha256, _ := images.Source(pins.version)
	note(emit, "making a base with a free-threaded Python %s from CPython's source", version)
	id, err := cpython{version, sha256, ""}.compile(ctx, e, network, on, name, emit)
	if err != nil {
		err = fmt.Errorf("get a base image with Python %s: compile it on %s: %w: try again, or set %s to an image that has it",
			pins.version, on.Base, err, BaseVariable)
	}
	return Image{Base: name, BaseID: id}, err
}

// cpython is a release of CPython.
type cpython struct {
	version, sha256 string
	places          string // where its source is, separated by spaces; "" for where it is published
}

// compile compiles a release in a container of a base, makes an image of that, and returns its id.
func (r cpython) compile(ctx context.Context, e *engine.Engine, network Network, on Image, name string,
	emit report.Emit) (id string, err error) {
	c, err := StartBuilder(ctx, e, network, engine.Spec{Image: on.BaseID, Purpose: "base", User: "0:0"})
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Remove(context.WithoutCancel(ctx)) }()
	relay := &lastLines{pass: progress(emit)}
	argv := append([]string{"bash", "-c", asset("cpython.sh"), "cpython.sh", r.version, r.sha256},
		strings.Fields(images.Pins()["CPYTHON_PACKAGES"])...)
	command := engine.Command{Argv: argv, Env: append(network.Env(), "PLACES="+r.places)}
	if err := Run(ctx, c, command, nil, relay); err != nil {
		return "", fmt.Errorf("%s: %w", relay.last, err)
	}
	return c.Commit(ctx, name, nil, nil)
}
