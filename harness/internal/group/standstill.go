package group

import (
	"fmt"
	"strings"
	"time"

	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/verdict"
)

// maxStandstills bounds how often pytest is killed between the tests of a group because its own process is stuck. After
// the last kill it is not restarted: if it got stuck after every start, it would after the next.
const maxStandstills = 3

// reporting is the phase of a test in which pytest's own process reports it to its plugins.
const reporting = "report"

// isOver reports whether the test itself has nothing left to do, at least for now: pytest's own process takes the time.
func (t *test) isOver() bool { return t.gone || !t.reporting.IsZero() }

// isIdle reports whether no test is at work, so that the group waits for pytest itself.
func (g *group) isIdle() bool {
	for _, test := range g.running {
		if !test.isOver() {
			return false
		}
	}
	return true
}

// takeGone records that the process of a test has ended: from now on, pytest has its own time to report it.
func (g *group) takeGone(pid int) {
	for _, test := range g.running {
		if test.pid == pid && pid != g.pytest && !test.gone {
			test.gone = true
			g.awaitPytest(g.Budgets.Finish)
		}
	}
}

// takePhase records which phase a test is in. The time in which pytest's own process reports the test does not count as
// the test's. It is bounded for each hook and in total.
func (g *group) takePhase(test *test, when string) {
	if !test.reporting.IsZero() {
		took := time.Since(test.reporting)
		test.own += took
		test.started = test.started.Add(took)
		test.reporting = time.Time{}
	}
	if when != reporting {
		test.Phase = when
		return
	}
	test.reporting = time.Now()
	g.awaitPytest(min(g.Budgets.Finish, hooks*g.Budgets.Finish-test.own))
}

// awaitPytest gives pytest's own process this much time from now on, which counts only if no test is at work.
func (g *group) awaitPytest(budget time.Duration) {
	g.phaseEnd = time.Now().Add(budget)
	delete(g.paces, g.pytest)
}

// expireStandstill ends a pytest whose own process is stuck between tests. No test is at work; the one that untold
// returns is red.
func (g *group) expireStandstill(d *deadlock) {
	after := fmt.Sprintf(" after %v", g.Budgets.Finish)
	if d != nil {
		after = ": deadlock proved: " + d.words()
	}
	untold := g.untold()
	at := "between two tests"
	if untold != nil {
		at = "after the end of " + untold.NodeID
	}
	end := g.phaseEnd
	g.standing = true
	g.stopping = "pytest's own process stood still " + at + " and was killed" + after
	g.grace = time.Now().Add(2*dumpTimeout + killTimeout)
	g.askDumps(g.pytest, hang.Circumstances{}, func(report hang.Report) {
		if d == nil && g.phaseEnd != end && g.exited == nil { // it moved on during the dump
			g.standing, g.stopping, g.grace = false, "", time.Time{}
			return
		}
		name := fmt.Sprintf("standstill-%d", g.standstills)
		g.standstills++
		text := g.hangText(name, d.text(), report)
		if untold != nil && g.running[untold.Index] == untold { // it is still not reported
			untold.still = true
			untold.Seen = strings.TrimRight(g.stopping+"\n"+text, "\n")
		} else {
			g.problem("%s\n%s", g.stopping, text)
		}
		g.again = g.standstills < maxStandstills && g.canGoOn()
		g.must(g.session.Stop())
	})
}

// untold returns the test whose report pytest's own process is stuck at, nil if no test is running. If pytest reports
// none, it is the test that began last: pytest was not stuck then, so an earlier test, whose report is only late, did
// not stop it.
func (g *group) untold() (last *test) {
	for _, t := range g.running {
		switch {
		case !t.reporting.IsZero():
			return t
		case last == nil || t.started.After(last.started):
			last = t
		}
	}
	return last
}

// isBystander reports whether a test lost its result, or its process, only because the harness killed a stuck pytest.
func (g *group) isBystander(test *test) bool {
	return g.standing && g.running[test.Index] == test && !test.still
}

// spareBystanders resets the bystanders, so that they run again.
func (g *group) spareBystanders() {
	for _, t := range g.selected {
		if g.isBystander(t) {
			delete(g.running, t.Index)
			t.Started, t.Phase, t.Reports, t.Seen = false, "", nil, ""
			t.gone, t.expired, t.slow, t.deadlock, t.killed = false, false, false, nil, time.Time{}
			t.reporting, t.own = time.Time{}, 0
		}
	}
}

// standstillFinish returns the end of a test whose own end was never reported.
func standstillFinish(test *test) *verdict.Finish {
	killed := verdict.KilledStandstill
	return &verdict.Finish{Duration: time.Since(test.started).Seconds(), Killed: &killed}
}
