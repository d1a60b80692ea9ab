package group

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/subtest"
)

// debug lets pytest collect, then runs the one selected test in the foreground: in plain pytest, on the user's
// terminal, without supervision or time limits.
func (g *group) debug(ctx context.Context) {
	err := g.watch(ctx)
	g.reportCollection()
	switch {
	case err != nil:
		g.problem("%v", err)
	case len(g.problems) > 0 || g.t.Failed():
	case !g.chosen:
		g.problem("pytest ended before it had collected the tests: %s", g.exitWords())
	case len(g.selected) != 1:
		g.problem("to debug, choose exactly one test with -run: it picks %d of %d here", len(g.selected), len(g.tests))
	default:
		g.t.Run(g.selected[0].name, func(t subtest.T) { g.debugTest(ctx, t, g.selected[0]) })
	}
	g.sayProblems()
}

func (g *group) debugTest(ctx context.Context, t subtest.T, test *test) {
	// A node id is relative to pytest's root, but pytest starts in another folder.
	_, rest, _ := strings.Cut(test.NodeID, "::")
	id := test.Path + "::" + rest
	args := append([]string{
		"run", "-p", "no:forked", "-p", "pyo3test_plugin.hooks", "-o", "faulthandler_timeout=0", "--capture=no",
	}, g.PytestArgs...)
	env := append(g.variables(), "TERM=xterm", "PYO3TEST_DEBUGGED=1") // the plugin reads it
	fmt.Fprintf(t.Output(), "in the foreground, container %.12s: gdb and py-spy are in it, %s\n", g.container.ID, layout.Tools)
	status, err := g.container.Foreground(ctx, engine.Command{
		Argv: append(append([]string{layout.Venv + "/bin/python", layout.Agent + "/launch.py"}, args...), id),
		Env:  env, Dir: path.Join(layout.Sources, g.Tree.Crate),
	})
	switch {
	case ctx.Err() != nil:
		err = errors.Join(context.Cause(ctx), err)
		fallthrough
	case err != nil:
		fmt.Fprintf(t.Output(), "%v\n", err)
		t.Fail()
	case status != 0:
		fmt.Fprintf(t.Output(), "pytest ended with status %d\n", status)
		t.Fail()
	}
}
