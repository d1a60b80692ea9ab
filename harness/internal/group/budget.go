package group

import (
	"fmt"
	"strings"
	"time"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/verdict"
)

const (
	// dumpTimeout bounds how long the stacks of a process are waited for; a dump takes 0.1 to 1 s.
	dumpTimeout = 10 * time.Second
	// killTimeout bounds how long the agent may take to report that something is dead.
	killTimeout = 10 * time.Second
)

// dumpRequest is a wait for stacks, and what to do when they are there or cannot be had.
type dumpRequest struct {
	id   string
	pid  int
	end  time.Time
	then func(stacks string)
}

// checkBudgets acts on every budget that is over.
func (g *group) checkBudgets(now time.Time) {
	if g.dump != nil && now.After(g.dump.end) {
		g.endDump(g.dump.id, fmt.Sprintf("stacks of process %d could not be had within %v\n", g.dump.pid, dumpTimeout))
	}
	for _, test := range g.running {
		if !test.expired && now.Sub(test.started) > test.budget {
			g.expire(test)
		}
	}
	if len(g.running) == 0 && g.stopping == "" && !g.phaseEnd.IsZero() && now.After(g.phaseEnd) {
		g.expirePhase()
	}
}

// endDeadlock ends a test that can never end by itself, long before its budget is over.
func (g *group) endDeadlock(proof agent.Event) {
	if test := g.running[proof.Index]; test != nil && test.pid == proof.PID && !test.expired {
		test.deadlock = &proof
		g.expire(test)
	}
}

// expire ends a test that used up its budget or is deadlocked: stacks first, then the kill.
func (g *group) expire(test *test) {
	test.expired = true
	g.askDump(test.pid, func(stacks string) {
		if g.running[test.Index] == nil {
			return // it ended while its stacks were taken
		}
		test.stacks = test.proof() + stacks
		if test.pid == g.pytest {
			g.stopping = fmt.Sprintf("%s hung in pytest's own process, which was killed", test.NodeID)
			g.grace = time.Now().Add(killTimeout)
		}
		g.must(g.session.Kill(test.pid, verdict.KilledHung, test.hungWords()))
	})
}

// hungWords says in one line why the test is hung.
func (t *test) hungWords() string {
	if proof := t.deadlock; proof != nil {
		who := "its only thread can never run again"
		if proof.Threads > 1 {
			who = fmt.Sprintf("none of its %d threads can ever run again", proof.Threads)
		}
		return fmt.Sprintf("hung: deadlock proved after %.1fs: %s", proof.After, who)
	}
	return fmt.Sprintf("hung: no end within %v", t.budget)
}

// proof is what shows that a deadlocked test is one, "" for any other.
func (t *test) proof() string {
	if t.deadlock == nil {
		return ""
	}
	return strings.TrimRight(t.deadlock.Text, "\n") + "\n"
}

// expirePhase ends a pytest that hangs outside any test.
func (g *group) expirePhase() {
	at := g.phase.String()
	if g.phase == collecting && g.collecting != "" {
		at += " of " + g.collecting
	}
	g.stopping = "pytest hung during " + at
	g.grace = time.Now().Add(dumpTimeout + killTimeout)
	g.askDump(g.pytest, func(stacks string) {
		g.problem("pytest hung during %s and was killed\n%s", at, stacks)
		g.must(g.session.Stop())
	})
}

// stop ends the group early; what has not run by then is reported as not run.
func (g *group) stop(why string) {
	if g.stopping == "" {
		g.stopping = why
		g.grace = time.Now().Add(killTimeout)
		g.must(g.session.Stop())
	}
}

// must notes an order that could not be given.
func (g *group) must(err error) {
	if err != nil {
		g.problem("%v", err)
	}
}

// askDump asks for stacks, one request at a time: two tools cannot look into one process at once.
func (g *group) askDump(pid int, then func(string)) {
	request := &dumpRequest{id: fmt.Sprint(time.Now().UnixNano()), pid: pid, then: then}
	if g.waiting = append(g.waiting, request); g.dump == nil {
		g.nextDump()
	}
}

func (g *group) nextDump() {
	if g.dump = nil; len(g.waiting) == 0 {
		return
	}
	g.dump, g.waiting = g.waiting[0], g.waiting[1:]
	g.dump.end = time.Now().Add(dumpTimeout)
	g.must(g.session.Dump(g.dump.pid, g.dump.id))
}

func (g *group) endDump(id, stacks string) {
	if g.dump != nil && g.dump.id == id {
		request := g.dump
		g.nextDump()
		request.then(stacks)
	}
}
