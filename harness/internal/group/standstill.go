package group

import (
	"fmt"
	"strings"
	"time"

	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/protocol"
)

// maxStandstills bounds how often pytest is killed between the tests of a group because its own process is stuck. After
// the last kill it is not restarted: if it got stuck after every start, it would after the next.
const maxStandstills = 3

// awaitPytest gives pytest's own process this much time from now on, which counts only if no test is at work.
func (g *group) awaitPytest(budget time.Duration) {
	g.clock.phaseEnd = g.clock.now.Add(budget)
	delete(g.dumps.paces, g.ledger.pid)
}

// expireStandstill ends a pytest whose own process is stuck between tests. No test is at work; the one that untold
// returns is red.
func (g *group) expireStandstill(d *deadlock) {
	after := fmt.Sprintf(" after %v", g.Budgets.Finish)
	if d != nil {
		after = ": deadlock proved: " + d.sentence()
	}
	untold := g.ledger.untold()
	at := "between two tests"
	if untold != nil {
		at = "after the end of " + untold.NodeID
	}
	end := g.clock.phaseEnd
	g.standing = true
	g.stopping = "pytest's own process stood still " + at + " and was killed" + after
	g.clock.grace = g.clock.now.Add(2*dumpTimeout + killTimeout)
	g.askDumps(g.ledger.pid, hang.Circumstances{}, func(seen hang.Report) {
		if d == nil && g.clock.phaseEnd != end && g.ledger.exited == nil { // it moved on during the dump
			g.standing, g.stopping, g.clock.grace = false, "", time.Time{}
			return
		}
		name := fmt.Sprintf("standstill-%d", g.standstills)
		g.standstills++
		text := g.hangText(name, d.text(), seen)
		if untold != nil && g.ledger.running[untold.Index] == untold { // it is still not reported
			untold.still = true
			untold.Seen = strings.TrimRight(g.stopping+"\n"+text, "\n")
		} else {
			g.problem("%s\n%s", g.stopping, text)
		}
		g.again = g.standstills < maxStandstills && g.canGoOn()
		g.must(g.session.Send(protocol.Stop{}))
	})
}

// isBystander reports whether a test lost its result, or its process, only because the harness killed a stuck pytest.
func (g *group) isBystander(test *test) bool {
	return g.standing && g.ledger.running[test.Index] == test && !test.still
}

// spareBystanders makes the bystanders run again.
func (g *group) spareBystanders() {
	for _, t := range g.selected {
		if g.isBystander(t) {
			delete(g.ledger.running, t.Index)
			t.forget()
		}
	}
}
