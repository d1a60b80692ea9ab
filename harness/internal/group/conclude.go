package group

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/engine"
	"pyo3test/harness/internal/layout"
	"pyo3test/harness/internal/plural"
	"pyo3test/harness/internal/project"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/verdict"
)

// maxJUnit bounds the size of pytest's JUnit file, in bytes; the largest seen in a real project is 2 MB.
const maxJUnit = 64 << 20

// conclude closes every subtest, compares the events with pytest's JUnit file, and keeps what the group left behind.
func (g *group) conclude(ctx context.Context) {
	g.closeUnfinished()
	g.reportCollection()
	switch {
	case len(g.problems) > 0:
	case g.stopping == "":
		g.reconcile()
	case !(g.Flags.FailFast && g.redSeen): // pytest's own report at its end is missing
		g.problem("%s", strings.TrimSpace(fmt.Sprintf("the group was ended early, during %s: %s\n%s", g.clock.phase,
			g.stopping, g.lastSeen)))
		g.problems[len(g.problems)-1].Listed = g.ledger.collected &&
			slices.ContainsFunc(g.selected, func(t *test) bool { return t.end.Outcome == verdict.NotRun })
	}
	if g.ledger.exited != nil && g.ledger.exited.DiskFull && (len(g.problems) > 0 || g.exitFault != "" || g.redSeen) {
		g.problems = slices.DeleteFunc(g.problems, func(p report.Problem) bool { return p.Text == engine.DiskFull })
		g.problems = slices.Insert(g.problems, 0,
			report.Problem{Group: g.Name, Text: engine.DiskFull + ", and check what the tests write"})
	}
	if (g.ledger.pid != 0 || g.round > 0) && g.Evidence.Wanted(g.red()) {
		g.keepOutput(ctx)
	}
	if g.OutputsTo != "" && g.ledger.exited != nil && len(g.selected) > 0 {
		g.saveOutputs(ctx)
	}
	g.noteSkipped()
	g.reportExit()
	g.sayProblems()
	g.clock.now = time.Now()
	g.clock.enter(g.clock.phase) // which ends it
}

// noteSkipped says why if every test was skipped: that may hide an import that fails.
func (g *group) noteSkipped() {
	if len(g.selected) == 0 || slices.ContainsFunc(g.selected, func(t *test) bool {
		return !t.closed || t.end.Outcome != verdict.Skipped
	}) {
		return
	}
	g.note("every test was skipped: %s", strings.Join(g.reasons, "; "))
}

// keepOutput copies out what pytest and the agent left in the container, unless the container is gone.
func (g *group) keepOutput(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	stream, err := g.container.Download(ctx, layout.Out)
	if err != nil {
		running, stateErr := g.container.Running(ctx)
		switch {
		case engine.Gone(stateErr) && len(g.problems) > 0: // they already report it
		case running || stateErr != nil:
			g.problem("%v", errors.Join(err, stateErr))
		case g.fate == "": // otherwise it is already reported
			g.problem("%s", cmp.Or(g.container.Fate(ctx),
				"the tests' container is gone: was it removed, or its engine stopped?"))
		}
		return
	}
	defer stream.Close()
	err = g.Evidence.KeepTar(g.Name, stream)
	if err != nil && ctx.Err() != nil { // sparse files take longer to read than to create
		g.note("not all that the group left is kept: it takes longer than %v to read", keepTimeout)
	} else if err != nil {
		g.problem("%v", err)
	}
}

// keepTimeout bounds the time to copy out what a group left behind.
const keepTimeout = time.Minute

// closeUnfinished closes the tests that have not ended: those that were running when pytest died, and those that never
// began.
func (g *group) closeUnfinished() {
	g.closeRunning()
	unrun := 0
	for _, test := range g.selected {
		if test.closed {
			continue
		}
		unrun++
		g.reportEnd(test)
	}
	if unrun > 0 {
		g.note("%s not run: %s", plural.Count(unrun, "test"), g.whyNotRun())
	}
}

// closeRunning closes the tests that were running when pytest ended.
func (g *group) closeRunning() {
	for _, test := range g.selected {
		if g.ledger.running[test.Index] == test {
			delete(g.ledger.running, test.Index)
			g.endRunning(test)
			g.reportEnd(test)
		}
	}
}

// endRunning sets the result of a test that was running when the session ended.
func (g *group) endRunning(test *test) {
	text := ""
	finish := verdict.Finish{Duration: g.clock.now.Sub(test.at).Seconds()}
	switch {
	case test.still:
		test.Finish = test.standstillFinish(g.clock.now)
		return
	case test.expired && test.Seen != "":
		killed := verdict.KilledHung
		finish.Killed, text = &killed, test.hungText()+", during "+test.Phase
	case g.ledger.exited != nil && g.stopping == "":
		finish.Exit, finish.Signal = g.ledger.exited.Exit, g.ledger.exited.Signal
		if g.ledger.exited.Memory != "" {
			killed := verdict.KilledMemory
			finish.Killed = &killed
		}
		text = "pytest's own process ended while this test ran: " + g.exitText() + g.untoldText()
	default:
		return // its result is unknown
	}
	test.Finish = &finish
	test.Reports = append(test.Reports,
		verdict.Report{When: cmp.Or(test.Phase, "call"), Outcome: "failed", Longrepr: text, Path: test.Path,
			Line: test.Line})
}

// whyNotRun explains why tests did not run.
func (g *group) whyNotRun() string {
	switch {
	case g.stopping != "":
		return g.stopping
	case len(g.problems) > 0:
		return g.problems[0].Text
	case g.round > 0:
		return "pytest was started again, and did not collect them any more"
	case g.ledger.exited != nil:
		return "pytest ended before them: " + g.exitText()
	}
	return "the group ended before them"
}

// judgeExit describes what is wrong with the exit of an interpreter after its session, "" if nothing is.
func (g *group) judgeExit() string {
	switch {
	case g.exitFault != "":
		return g.exitFault
	case g.ledger.exited.Exit == nil:
		return "pytest's session was over, and its process died: " + g.exitText()
	case *g.ledger.exited.Exit != *g.ledger.exitStatus:
		return fmt.Sprintf("pytest's session ended with status %d, its process otherwise: %s", *g.ledger.exitStatus,
			g.exitText())
	case !g.ledger.left:
		return fmt.Sprintf("pytest's process did not end by itself: something left it with os._exit(%d) after the "+
			"session, in pytest_unconfigure, "+
			"an exit handler or a thread; take that out, for what it cuts short can hide a failure",
			*g.ledger.exitStatus)
	}
	return ""
}

// reconcile makes the group red if the events, pytest's JUnit file and pytest's exit do not agree.
func (g *group) reconcile() {
	switch {
	case g.ledger.exitStatus == nil:
		g.problem("pytest ended without saying how its session ended")
		return
	case g.ledger.exited == nil:
		g.problem("pytest's session is over, and the end of its process was not reported")
		return
	}
	g.exitFault = g.judgeExit()
	switch {
	case g.ledger.imported != len(g.Extension.Modules):
		g.problem("%d of %d built modules were imported before the tests", g.ledger.imported, len(g.Extension.Modules))
		return
	case len(g.ledger.tests) == 0 && len(g.ledger.collectErrors) == 0 && *g.ledger.exitStatus != verdict.ExitNoTests:
		g.problemBecause(g.exitCause(), "pytest's session ended with status %d before it had collected the tests: %s\n%s",
			*g.ledger.exitStatus, g.statusText(*g.ledger.exitStatus), strings.TrimSpace(g.ledger.exited.Text))
		return
	case len(g.ledger.tests) == 0 && len(g.ledger.collectErrors) == 0 && len(g.hungFiles) == 0:
		g.problemBecause(report.CauseCollection, "%s", g.noTestsText())
		return
	case len(g.ledger.junit) == 0 && g.ledger.exited.DiskFull:
		g.problem("pytest could not write its JUnit file")
		return
	case len(g.ledger.junit) == 0:
		g.problem("pytest left no JUnit file: is one of its plugins, junitxml, switched off in the " +
			"project's configuration?")
		return
	}
	cases, err := verdict.ReadJUnit(bytes.NewReader(g.ledger.junit), maxJUnit)
	if err != nil {
		g.problem("pytest's JUnit file: %v", err)
		return
	}
	ran := verdict.Ran{CollectErrors: g.ledger.collectErrors, CollectSkips: g.ledger.collectSkips,
		ExitStatus: *g.ledger.exitStatus}
	for _, test := range g.selected {
		if g.ledger.due[test.Index] { // a killed pytest leaves no JUnit file
			ran.Tests = append(ran.Tests, test.end)
		}
	}
	for _, problem := range verdict.Reconcile(ran, cases) {
		g.problem("%s", problem)
	}
}

func (g *group) noTestsText() string {
	if len(g.ledger.collectSkips) > 0 {
		return "no tests found: every file skips itself as it is collected"
	}
	where := g.Tree.HostPath(path.Join(layout.Sources, g.Tree.Crate))
	if len(g.Tests) > 0 {
		where = strings.Join(g.Tests, ", ") + " of " + where
	}
	if n := g.ledger.deselected; n > 0 {
		return fmt.Sprintf("all %s in %s were deselected by -k, -m, --deselect or a plugin", plural.Count(n, "test"), where)
	}
	return fmt.Sprintf("no tests found in %s: name their files on the command line, or as %s, or check testpaths and "+
		"python_files in the project's pytest configuration", where, project.Setting("Tests"))
}
