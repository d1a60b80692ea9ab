package group

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/verdict"
)

// debug lets pytest collect, then runs the one selected test in the foreground: in plain pytest, on the user's
// terminal, without supervision or time limits.
func (g *group) debug(ctx context.Context) {
	err := g.watch(ctx)
	g.reportCollection()
	switch {
	case err != nil:
		g.problem("%v", err)
	case len(g.problems) > 0 || g.Stream.Red(g.Name):
	case !g.ledger.collected:
		g.problem("pytest ended before it had collected the tests: %s", g.exitText())
	case len(g.selected) != 1:
		g.problem("to debug, choose exactly one test with -run: it picks %d of %d here", len(g.selected),
			len(g.ledger.tests))
	default:
		g.debugTest(ctx, g.selected[0])
	}
	g.sayProblems()
}

func (g *group) debugTest(ctx context.Context, test *test) {
	g.reportStart(test)
	began := time.Now()
	// A node id is relative to pytest's root, but pytest starts in another folder.
	_, rest, _ := strings.Cut(test.NodeID, "::")
	id := test.Path + "::" + rest
	args := append([]string{
		"run", "-p", "no:forked", "-p", "pyo3test_plugin.hooks", "-o", "faulthandler_timeout=0", "--capture=no",
	}, g.PytestArgs...)
	env := append(g.variables(), "TERM=xterm", "PYO3TEST_DEBUGGED=1") // the plugin reads it
	g.emit(report.Lent{Group: g.Name,
		Text: fmt.Sprintf("in the foreground, container %.12s: gdb and py-spy are in it, %s", g.container.ID,
			layout.Tools)})
	status, err := g.container.Foreground(ctx, engine.Command{
		Argv: append(append([]string{layout.Venv + "/bin/python", layout.Agent + "/launch.py"}, args...), id),
		Env:  env, Dir: path.Join(layout.Sources, g.Tree.Crate),
	})
	g.emit(report.Returned{Group: g.Name})
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	v := verdict.Verdict{Outcome: verdict.Passed, Duration: time.Since(began).Seconds()}
	switch {
	case err != nil:
		v.Outcome, v.Text = verdict.Failed, err.Error()
	case status != 0:
		v.Outcome, v.Text = verdict.Failed, fmt.Sprintf("pytest ended with status %d", status)
	}
	test.closed, test.end = true, test.End(v.Outcome)
	g.emitTest(test, g.endOf(test, v))
}
