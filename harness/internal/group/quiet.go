package group

import "time"

// standstill is how long the agent must be silent before its container counts as paused or its machine as overloaded.
// From then on deadlines are suspended, as far as this is known from outside the container: what runs inside can also
// stop the agent.
const standstill = 3 * time.Second

// mercy bounds how far an overloaded machine may move deadlines, in each phase and between the ends of two tests.
const mercy = 10 * time.Second

// quiet tracks how long the agent has been silent, and how much of that time does not count.
type quiet struct {
	heard   time.Time     // when the agent last sent something
	asked   time.Time     // when the engine was asked whether the container is paused; zero if no answer is due
	seen    time.Time     // when its last answer came
	paused  bool          // what that answer was
	granted time.Duration // how much of this silence does not count
	mercy   time.Duration // how much may still be discounted while the container is not paused, until the next phase or test
}

// hear records that the agent sent something.
func (q *quiet) hear(now time.Time) { q.heard, q.paused, q.granted = now, false, 0 }

// mustAsk reports whether to ask the engine now, about once a second.
func (q *quiet) mustAsk(now time.Time) bool {
	if now.Sub(q.heard) <= standstill || !q.asked.IsZero() || now.Sub(q.seen) < time.Second {
		return false
	}
	q.asked = now
	return true
}

// answer records the engine's answer and reports whether a pause is new.
func (q *quiet) answer(now time.Time, paused bool) bool {
	if q.heard.After(q.asked) { // the pause is over
		paused = false
	}
	news := paused && !q.paused
	q.asked, q.seen, q.paused = time.Time{}, now, paused
	return news
}

// grant returns how far to move deadlines for the time since the last call, which was stood ago, and whether the reason
// is known from outside the container.
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

// tooLong reports whether the agent has been silent for longer than it may.
func (q *quiet) tooLong(now time.Time) bool {
	since := q.heard
	if q.paused {
		since = q.seen
	}
	return now.Sub(since) > silence
}

// followQuiet moves the deadlines by the time that does not count, of that since the last call. Once the group is being
// ended, its deadlines stay.
func (g *group) followQuiet(stood time.Duration) {
	later, known := g.clock.quiet.grant(g.clock.now, stood)
	if later == 0 || g.stopping != "" {
		return
	}
	g.stand(later)
	if known {
		g.clock.extend(later)
	}
}

// visit calls the user's function for a test that hangs, and moves all deadlines by the time that it takes.
func (g *group) visit(h Hung) {
	began := time.Now()
	g.Hung(h)
	g.clock.now = time.Now()
	g.visited += g.clock.now.Sub(began)
	g.stand(g.clock.now.Sub(began))
	g.clock.extend(g.clock.now.Sub(began))
	g.clock.quiet.hear(g.clock.now)
}

// stand moves the deadlines of the attempt, its dumps and its tests.
func (g *group) stand(still time.Duration) {
	g.clock.stand(still)
	g.dumps.stand(still)
	g.ledger.stand(still)
}

// lastMargin is the time for everything that has no budget of its own: the agent's start, stacks and kills.
const lastMargin = 2 * time.Minute

// hooks is how often pytest reports an ordinary test to its plugins: when it begins, in each of its phases, and when it
// ends.
const hooks = 5

// longest returns how long the tests and all that follows them can take if every budget is used up.
func (g *group) longest() time.Duration {
	sum := g.Budgets.Finish + patience*g.Budgets.Exit + lastMargin
	for _, test := range g.selected {
		if g.ledger.due[test.Index] && !test.closed {
			sum += test.budget + hooks*g.Budgets.Finish + 2*dumpTimeout + deathTimeout
		}
	}
	return sum
}
