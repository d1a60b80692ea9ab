package group

import (
	"errors"
	"fmt"
	"time"
)

// standstill is how long the agent says nothing when its container is paused or its machine is overloaded. From then on
// deadlines stand still, as far as that is known from outside the container: what runs inside can stop the agent too.
const standstill = 3 * time.Second

// mercy is by how much an overloaded machine may move deadlines, in each phase and between the ends of two tests.
const mercy = 10 * time.Second

// quiet follows how long the agent has said nothing, and how much of that time does not count.
type quiet struct {
	heard   time.Time     // when it said something last
	asked   time.Time     // when the engine was asked whether the container is paused; zero where no answer is due
	seen    time.Time     // when its answer came last
	paused  bool          // what it was
	granted time.Duration // how much of this silence does not count
	mercy   time.Duration // how much may not count although the container is not paused, until the next phase or test
}

// hear notes that the agent said something.
func (q *quiet) hear(now time.Time) { q.heard, q.paused, q.granted = now, false, 0 }

// mustAsk reports whether the engine is to be asked now, about once a second.
func (q *quiet) mustAsk(now time.Time) bool {
	if now.Sub(q.heard) <= standstill || !q.asked.IsZero() || now.Sub(q.seen) < time.Second {
		return false
	}
	q.asked = now
	return true
}

// answer notes what the engine said, and reports whether that is news of a pause.
func (q *quiet) answer(now time.Time, paused bool) bool {
	if q.heard.After(q.asked) { // it is over
		paused = false
	}
	news := paused && !q.paused
	q.asked, q.seen, q.paused = time.Time{}, now, paused
	return news
}

// grant is how much later deadlines come for what has passed since the last call, stood ago, and whether that is known
// from outside.
func (q *quiet) grant(now time.Time, stood time.Duration) (later time.Duration, known bool) {
	silent := now.Sub(q.heard)
	switch {
	case stood > standstill: // this process was stopped, or its machine slept
		q.heard = q.heard.Add(stood)
		return stood, true
	case q.paused:
		later = silent - q.granted
		q.granted = silent
		return later, true
	case silent > standstill:
		later = min(stood, q.mercy)
		q.mercy -= later
		q.granted += later
	}
	return later, false
}

// tooLong reports whether the agent has said nothing for longer than it may.
func (q *quiet) tooLong(now time.Time) bool {
	since := q.heard
	if q.paused {
		since = q.seen
	}
	return now.Sub(since) > silence
}

// followQuiet moves the deadlines by the time that does not count.
func (g *group) followQuiet(now time.Time, stood time.Duration) {
	later, known := g.quiet.grant(now, stood)
	if later == 0 {
		return
	}
	g.stand(later)
	if known && g.stopping == "" && !g.lastEnd.IsZero() {
		g.lastEnd = g.lastEnd.Add(later)
	}
}

// lastMargin is what all that has no budget of its own may take: the agent's start, stacks and kills.
const lastMargin = 2 * time.Minute

// hooks is how often pytest reports an ordinary test to its plugins: as it begins, for each of its phases, and as it ends.
const hooks = 5

// longest is how long the tests and all that follows them can take where every budget is used up.
func (g *group) longest() time.Duration {
	sum := g.Budgets.Finish + patience*g.Budgets.Exit + lastMargin
	for _, test := range g.selected {
		if test.round == g.round && !test.closed {
			sum += test.budget + hooks*g.Budgets.Finish + 2*dumpTimeout + deathTimeout
		}
	}
	return sum
}

// giveUp says why the container is to be killed now, nil where it is not. Nothing that runs in it can put that off.
func (g *group) giveUp(now time.Time) error {
	switch {
	case g.quiet.tooLong(now):
		return fmt.Errorf("the agent in the container said nothing for %v: its engine or container hangs, or a test stopped it or left it no processor time", silence)
	case !g.grace.IsZero() && now.After(g.grace):
		return errors.New("pytest was told to end and its end was not reported")
	case !g.lastEnd.IsZero() && now.After(g.lastEnd):
		return errors.New("the group has used up all its budgets together, and was not at its end: something in its container holds it up")
	}
	return nil
}
