package image

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"pyo3test/harness/internal/cache"
	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/report"
)

// WithPackages returns the tools image with the given Debian packages added, and makes it first if it does not exist.
func (i Image) WithPackages(ctx context.Context, e *engine.Engine, network Network, packages []string,
	emit report.Emit) (Image, error) {
	if len(packages) == 0 {
		return i, nil
	}
	for _, name := range packages {
		if !IsPackage(name) {
			return Image{}, fmt.Errorf("SystemPackages: %q is not the name of a Debian package", name)
		}
	}
	packages = slices.Compact(slices.Sorted(slices.Values(packages)))
	with := i
	with.Name = repository + "tools:" + hash(append([]string{i.ID}, packages...)...)
	found, ok, err := e.Made(ctx, with.Name)
	if with.ID = found.ID; ok || err != nil {
		return with, err
	}
	unlock, err := cache.Lock(ctx, "packages",
		func() { note(emit, "another process installs system packages: waiting for it") })
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	found, ok, err = e.Made(ctx, with.Name)
	if with.ID = found.ID; ok || err != nil {
		return with, err
	}
	note(emit, "installing %s", strings.Join(packages, ", "))
	if with.ID, err = installPackages(ctx, e, network, i.ID, with.Name, packages, emit); err != nil {
		return Image{}, fmt.Errorf("SystemPackages: install %s: %w", strings.Join(packages, ", "), err)
	}
	return with, nil
}

// packageName matches a Debian package, with a version or without: https://www.debian.org/doc/debian-policy/ch-controlfields.html#source
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9.+-]*[a-z0-9+](=[A-Za-z0-9.+:~-]*[A-Za-z0-9])?$`)

// IsPackage reports whether a text is the name of a Debian package, such as libssl-dev or libssl-dev=3.0.17-1.
func IsPackage(name string) bool { return packageName.MatchString(name) }

func installPackages(
	ctx context.Context, e *engine.Engine, network Network, on, name string, packages []string, emit report.Emit,
) (id string, err error) {
	c, err := StartBuilder(ctx, e, network, engine.Spec{Image: on, Purpose: "packages", User: "0:0"})
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Remove(context.WithoutCancel(ctx)) }()
	relay := &lastLines{pass: progress(emit)}
	script := `export DEBIAN_FRONTEND=noninteractive
		command -v apt-get >/dev/null || { echo "the base image has no apt-get: installing packages needs a base made from Debian" >&2; exit 1; }
		export DEBCONF_NOWARNINGS=yes
		apt-get update -qq && apt-get install -o APT::Cmd::Pattern-Only=true -y -qq --no-install-recommends -- "$@" >/dev/null && rm -rf /var/lib/apt/lists/* /var/log/apt`
	argv := append([]string{"sh", "-c", script, "sh"}, packages...)
	if err := Run(ctx, c, engine.Command{Argv: argv, Env: network.Env()}, nil, relay); err != nil {
		return "", fmt.Errorf("%s: %w", relay.last, err)
	}
	return c.Commit(ctx, name, nil, nil) // it inherits the labels
}
