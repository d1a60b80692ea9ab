package group

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/image"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/report"
)

// show gives the user access to the group's container at its end, if that was asked for.
func (g *group) show(ctx context.Context) {
	if g.container == nil || ctx.Err() != nil {
		return
	}
	if g.Flags.Visit != nil {
		g.Flags.Visit(ctx, func(ctx context.Context, argv []string, input io.Reader, output io.Writer) error {
			return image.Run(ctx, g.container, engine.Command{Argv: argv, Env: g.variables(), Dir: g.dir()}, input,
				output)
		}, g.Tree.HostText)
	}
	if g.Flags.Keep {
		g.keep(ctx)
	}
	if g.Flags.Shell && g.red() {
		g.Tested()
		g.shell(ctx)
	}
}

// keep makes an image of the container. The container itself cannot stay: nothing outlives the run.
func (g *group) keep(ctx context.Context) {
	name := "localhost/pyo3test/kept:" + strings.ToLower(g.Name) + "-" + time.Now().UTC().Format("20060102t150405.000")
	if _, err := g.container.Commit(ctx, name, extension.Unlisted(), g.environment()); err != nil {
		g.note("the container could not be kept: %v", err)
		return
	}
	g.emit(report.Note{Group: g.Name, Text: fmt.Sprintf("kept as an image, until pyo3test clean: "+
		"docker run --rm -it --network none --user %s --workdir %s --entrypoint bash %s", layout.User, g.dir(), name)})
}

// shell gives the user a shell in the container, in the place and the environment of the tests.
func (g *group) shell(ctx context.Context) {
	g.emit(report.Lent{Group: g.Name, Text: fmt.Sprintf("a shell in the tests' container %.12s: "+
		"pytest, gdb and py-spy are in it (%s); it ends with the shell", g.container.ID, layout.Tools)})
	defer g.emit(report.Returned{Group: g.Name})
	if err := openShell(ctx, g.container, g.Name, g.variables(), g.dir()); err != nil {
		g.note("%v", err)
	}
}

// openShell gives the user a shell in a container, which returns when that ends.
func openShell(ctx context.Context, in *engine.Container, prompt string, env []string, dir string) error {
	// In the shell, pytest --forked uses our plugin, whether or not pytest-forked works with this pytest.
	env = append(env, "PYTHONPATH="+layout.Agent+"/site",
		"PYTEST_ADDOPTS=-p no:forked -p pyo3test_plugin.hooks", "TERM=xterm", "PS1="+prompt+":\\w\\$ ")
	_, err := in.Foreground(ctx, engine.Command{Argv: []string{"bash", "--norc", "-i"}, Env: env, Dir: dir})
	return err
}

// Hung is a test that hangs.
type Hung struct {
	container *engine.Container
	PID       int // of its process, in the container
	env       []string
	dir       string
}

// Shell gives the user a shell beside the process, and returns when that ends. In it, $PYO3TEST_PID is the process, and gdb
// and py-spy are found.
func (h Hung) Shell(ctx context.Context) error {
	return openShell(ctx, h.container, "hung", append(h.env, fmt.Sprintf("PYO3TEST_PID=%d", h.PID)), h.dir)
}

const (
	// coreTimeout bounds how long a core may take, and maxCore how many bytes it has, compressed and with its files.
	coreTimeout = 10 * time.Minute
	maxCore     = 8 << 30
)

// Core writes a core of the process, its program and the files that it has mapped, as a compressed tar file.
func (h Hung) Core(ctx context.Context, to io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, coreTimeout, fmt.Errorf("it took longer than %v", coreTimeout))
	defer cancel()
	command := engine.Command{Argv: []string{layout.Tools + "/python", "-I", layout.Agent + "/core.py", fmt.Sprint(h.PID)}}
	err := h.container.Read(ctx, command, func(stdout io.Reader) error {
		n, err := io.Copy(to, io.LimitReader(stdout, maxCore))
		if err == nil && n == maxCore {
			err = fmt.Errorf("it has more than %d MiB", maxCore>>20)
		}
		return cmp.Or(context.Cause(ctx), err)
	})
	if err != nil {
		return fmt.Errorf("write a core: %w", err)
	}
	return nil
}
