package group

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"pyo3test/harness/internal/hang"
	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/verdict"
)

const (
	// dumpTimeout bounds the wait for the stacks of a process; a dump takes 0.1 to 1 s.
	dumpTimeout = 10 * time.Second
	// killTimeout bounds how long the agent may take to report that something is dead.
	killTimeout = 10 * time.Second
	// deathTimeout bounds how long a test's processes may take to die; a thousand of them take several seconds.
	deathTimeout = 30 * time.Second
)

// checkBudgets acts on every budget that is used up.
func (g *group) checkBudgets() {
	now := g.clock.now
	if request := g.dumps.overdue(now); request != nil {
		g.endDump(protocol.Dump{ID: request.id, PID: request.pid,
			Problem: fmt.Sprintf("no answer within %v", dumpTimeout)})
	}
	for _, test := range g.ledger.running {
		switch ran := now.Sub(test.at); {
		case test.isOver(): // pytest's own process takes the time
		case test.expired:
			if !test.killed.IsZero() && now.Sub(test.killed) > deathTimeout {
				g.stop(fmt.Sprintf("%s hung, and was not dead %v after it was to be killed", test.NodeID, deathTimeout))
			}
		case ran > test.budget:
			g.expire(test)
		case ran > test.budget-early(test.budget):
			g.askPace(test.pid)
		case ran > test.budget/2 && ran > slowAfter && !test.slow:
			g.saySlow(test)
		}
	}
	if !g.ledger.idle() {
		return
	}
	if g.ledger.pid != 0 && g.clock.phaseOver(early(g.clock.budget(g.clock.phase))) {
		g.askPace(g.ledger.pid)
	}
	if g.stopping == "" && g.clock.phaseOver(0) {
		g.expirePhase(nil)
	}
}

// slowAfter is the shortest time after which a test is called slow, whatever its budget.
const slowAfter = 5 * time.Second

// saySlow reports live that a test has used up half of its budget.
func (g *group) saySlow(test *test) {
	test.slow = true
	g.askDump(test.pid, g.circumstances(test), func(seen hang.Report) {
		g.emit(report.TestSlow{
			Test: g.testOf(test), Ran: g.clock.now.Sub(test.at).Round(time.Second), Budget: test.budget,
			Text: fmt.Sprintf("pid %d, %s", test.pid, g.Tree.HostText(seen.Dump.Glance())),
		})
	})
}

// endDeadlock ends a process that can never end by itself, long before its budget is used up.
func (g *group) endDeadlock(proof protocol.Deadlock) {
	for _, test := range g.ledger.running {
		if test.pid == proof.PID && !test.isOver() {
			if !test.expired {
				test.deadlock = &deadlock{proof}
				g.expire(test)
			}
			return
		}
	}
	if proof.PID == g.ledger.pid && g.ledger.idle() && g.stopping == "" && !g.clock.phaseEnd.IsZero() {
		g.expirePhase(&deadlock{proof})
	}
}

// deadlock is the proof that a process can never end; nil if there is none.
type deadlock struct{ proof protocol.Deadlock }

func (d *deadlock) sentence() string {
	if d.proof.Threads > 1 {
		return fmt.Sprintf("none of its %d threads can ever run again", d.proof.Threads)
	}
	return "its only thread can never run again"
}

// text returns the text of the proof.
func (d *deadlock) text() string {
	if d == nil {
		return ""
	}
	return strings.TrimRight(d.proof.Text, "\n") + "\n"
}

// expire ends a test that used up its budget or is deadlocked: it takes the stacks, then kills the test.
func (g *group) expire(test *test) {
	test.expired = true
	g.askDumps(test.pid, g.circumstances(test), func(seen hang.Report) {
		if g.ledger.running[test.Index] != test || test.isOver() {
			return // it ended during the dump
		}
		seen.Notes = g.notes(test)
		test.failure = g.failure(seen)
		test.Seen = g.hangText(test.name, test.deadlock.text(), seen)
		if g.Hung != nil {
			g.visit(Hung{g.container, test.pid, g.variables(), g.dir()})
		}
		if test.pid == g.ledger.pid {
			g.stopping = fmt.Sprintf("%s hung in pytest's own process, which was killed", test.NodeID)
			g.again = g.canGoOn()
			g.clock.grace = g.clock.now.Add(killTimeout)
		}
		test.killed = g.clock.now
		g.must(g.session.Send(protocol.Kill{PID: test.pid, Reason: verdict.KilledHung, Message: test.hungText()}))
	})
}

// hungText explains in one line why the test is hung.
func (t *test) hungText() string {
	if t.deadlock != nil {
		return fmt.Sprintf("hung: deadlock proved after %.1fs: %s", t.deadlock.proof.After, t.deadlock.sentence())
	}
	return fmt.Sprintf("hung: no end within %v", t.budget)
}

// expirePhase ends a pytest that hangs outside any test.
func (g *group) expirePhase(d *deadlock) {
	switch g.clock.phase {
	case exiting:
		g.expireExit(d)
		return
	case inTests:
		g.expireStandstill(d)
		return
	}
	at := g.clock.phase.String()
	if g.clock.phase == collecting && g.ledger.collecting != "" {
		at += " of " + g.ledger.collecting
	}
	after := fmt.Sprintf(" after %v", g.clock.budget(g.clock.phase))
	if d != nil {
		after = ": deadlock proved: " + d.sentence()
	}
	g.stopping = "pytest hung during " + at
	g.clock.grace = g.clock.now.Add(2*dumpTimeout + killTimeout)
	g.askDumps(g.ledger.pid, hang.Circumstances{}, func(seen hang.Report) {
		if file := g.hungFile(); file != "" {
			text := fmt.Sprintf("pytest hung as it imported this file, and was killed%s\n%s", after,
				g.hangText("collection-of-"+g.ledger.collecting, d.text(), seen))
			g.hungFiles = append(g.hungFiles, hungFile{verdict.CollectError{NodeID: g.ledger.collecting, Path: file,
				Name: g.ledger.collecting, Longrepr: text}, g.failure(seen)})
			g.again = true
			g.must(g.session.Send(protocol.Stop{}))
			return
		}
		g.problem("pytest hung during %s and was killed%s\n%s", at, after,
			g.hangText(g.clock.phase.String(), d.text(), seen))
		g.problems[len(g.problems)-1].Failure, g.problems[len(g.problems)-1].Phase = g.failure(seen), g.clock.phase.short()
		g.must(g.session.Send(protocol.Stop{}))
	})
}

// patience is how many times its budget an interpreter may take to exit while it still uses the processor: freeing ten
// thousand tests takes seconds.
const patience = 10

// expireExit ends a pytest whose session is over and in order, but whose interpreter does not exit.
func (g *group) expireExit(d *deadlock) {
	if d == nil && g.ledger.working && g.clock.now.Before(g.clock.phaseEnd.Add((patience-1)*g.Budgets.Exit)) {
		return
	}
	after := fmt.Sprintf("within %v", g.Budgets.Exit)
	if d != nil {
		after = "(deadlock proved: " + d.sentence() + ")"
	}
	g.clock.phaseEnd = time.Time{}
	g.askDumps(g.ledger.pid, hang.Circumstances{AtExit: true}, func(seen hang.Report) {
		if g.ledger.exited != nil {
			return
		}
		g.exitFault = fmt.Sprintf("pytest's session was over, and its interpreter did not end %s: it was killed\n%s",
			after, g.hangText("exit", d.text(), seen))
		g.exitFailure = g.failure(seen)
		g.clock.grace = g.clock.now.Add(killTimeout)
		g.must(g.session.Send(protocol.Stop{}))
	})
}

// windDown ends the group early, but first shows the stacks of what is running: that may well be what took the time.
func (g *group) windDown(why string) {
	if g.stopping != "" {
		return
	}
	g.stopping = why
	g.clock.stopAt = g.clock.now.Add(min(dumpTimeout, g.Grace))
	g.clock.grace = g.clock.stopAt.Add(killTimeout)
	g.showStacks(why, func() { g.clock.stopAt = g.clock.now })
}

// maxHungFiles bounds how often a hung collection is tried again.
const maxHungFiles = 5

// hungFile returns the file whose import hangs pytest, or "" if pytest cannot run without it.
func (g *group) hungFile() string {
	base := path.Base(g.ledger.collecting)
	if g.clock.phase != collecting || path.Ext(base) != ".py" || base == "conftest.py" || base == "__init__.py" ||
		len(g.hungFiles) >= maxHungFiles {
		return ""
	}
	file := path.Join(g.ledger.rootDir, g.ledger.collecting)
	if slices.ContainsFunc(g.Tests, func(test string) bool {
		name, _, _ := strings.Cut(test, "::")
		return path.Join(g.dir(), name) == file
	}) {
		return "" // pytest does not ignore a file that is named as an argument
	}
	return file
}

// stop ends the group early; what has not run by then is reported as not run.
func (g *group) stop(why string) {
	if g.stopping == "" {
		g.stopping = why
		g.clock.grace = g.clock.now.Add(killTimeout)
		g.must(g.session.Send(protocol.Stop{}))
	}
}

// must records a failed agent command as a problem of the group.
func (g *group) must(err error) {
	if err != nil {
		g.problem("%v", err)
	}
}
