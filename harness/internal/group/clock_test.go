package group

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/hang"
)

// TestClock: phases take the time between their starts; deadlines move with time that does not count.
func TestClock(t *testing.T) {
	c := clock{budgets: Budgets{Start: 10 * time.Second, Collect: time.Minute, Finish: time.Hour, Exit: time.Second},
		now: morning}
	pass := func(long time.Duration) { c.now = c.now.Add(long) }
	c.quiet.hear(morning.Add(time.Hour)) // the agent is not silent
	c.enter(starting)
	pass(10 * time.Second)
	require.True(t, c.phaseOver(time.Second), "a second early")
	require.False(t, c.phaseOver(0))
	pass(time.Second)
	require.True(t, c.phaseOver(0))
	c.enter(collecting)
	require.False(t, c.phaseOver(0))
	pass(2 * time.Second)
	c.enter(starting) // pytest is started again
	pass(3 * time.Second)
	c.enter(inTests)
	require.Equal(t, 14*time.Second, c.took[starting])
	require.Equal(t, 2*time.Second, c.took[collecting])

	require.NoError(t, c.giveUp())
	c.grace = c.now.Add(time.Minute)
	c.stand(time.Hour)
	pass(time.Minute + time.Second)
	require.NoError(t, c.giveUp())
	require.False(t, c.phaseOver(0))
	require.Zero(t, c.stopAt, "no deadline stays none")
	c.phaseEnd = time.Time{}
	pass(100 * time.Hour)
	require.False(t, c.phaseOver(0), "the phase has no end")
}

// TestDumpQueue: requests for stacks are sent one at a time, and each ends: with its answer, or without one.
func TestDumpQueue(t *testing.T) {
	q := newDumpQueue()
	require.Nil(t, q.next(morning))
	for pid := range 3 {
		q.add(pid, hang.Circumstances{}, nil)
	}
	first := q.next(morning)
	require.Equal(t, 0, first.pid)
	require.Nil(t, q.next(morning), "one at a time")
	require.Nil(t, q.answered("another"), "an answer that nobody asked for")
	require.Nil(t, q.overdue(morning.Add(dumpTimeout)))
	q.stand(time.Minute)
	require.Nil(t, q.overdue(morning.Add(dumpTimeout+time.Minute)))
	require.Equal(t, first, q.overdue(morning.Add(dumpTimeout+time.Minute+1)))
	require.Equal(t, first, q.answered(first.id))
	require.Nil(t, q.answered(first.id), "once")
	require.Equal(t, 1, q.next(morning).pid)
	require.Equal(t, 1, q.answered(q.current.id).pid)
	require.Equal(t, 2, q.next(morning).pid)
}

// TestKillThatIsNotCarriedOut: the group does not wait forever for a kill.
func TestKillThatIsNotCarriedOut(t *testing.T) {
	g, session := underWay(t, 1)
	wait(g, 2*time.Hour)
	seen(g)
	wait(g, time.Second)
	require.Equal(t, []string{"kill 10"}, session.orders)
	wait(g, deathTimeout)
	require.Equal(t, []string{"kill 10", "stop"}, session.orders)
	g.clock.quiet.hear(g.clock.now)
	require.NoError(t, g.clock.giveUp())
	wait(g, killTimeout+time.Second)
	require.ErrorContains(t, g.clock.giveUp(), "pytest was told to end and its end was not reported")
}

// TestLastEnd: a group ends, whatever events arrive.
func TestLastEnd(t *testing.T) {
	g, _ := underWay(t, 1)
	require.NoError(t, g.runSelected())
	say(t, g, `{"ev":"start","index":1,"pid":20}`)
	sum := g.longest()
	require.Greater(t, sum, 2*time.Hour)
	require.Less(t, sum, 3*time.Hour)
	g.clock.quiet.hear(morning.Add(sum + 30*time.Second))
	g.clock.now = morning.Add(sum - time.Minute)
	require.NoError(t, g.clock.giveUp())
	g.clock.now = morning.Add(sum + time.Minute)
	require.ErrorContains(t, g.clock.giveUp(), "has used up all its budgets together")
}

// TestQuiet: while the agent is silent, deadlines move for as long as the engine reports the container paused, or this
// process was stopped. Otherwise they move only up to a limit, because a test can stop the agent.
func TestQuiet(t *testing.T) {
	begin := time.Now()
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	sum := func(q *quiet, from, to int) (sum time.Duration) {
		for i := from; i < to; i++ {
			later, _ := q.grant(at(i), time.Second)
			sum += later
		}
		return sum
	}

	q := quiet{heard: begin, mercy: 10 * time.Second}
	require.Equal(t, 10*time.Second, sum(&q, 0, 50))
	require.False(t, q.tooLong(at(59)))
	require.True(t, q.tooLong(at(61)))
	for i := 50; i < 500; i += 10 { // it sends something between two stops
		q.hear(at(i))
		require.Zero(t, sum(&q, i, i+10))
	}

	q = quiet{heard: begin, mercy: 10 * time.Second}
	require.False(t, q.mustAsk(at(3)))
	require.True(t, q.mustAsk(at(4)))
	require.False(t, q.mustAsk(at(5)), "it was asked")
	require.True(t, q.answer(at(5), true))
	require.Equal(t, 99*time.Second, sum(&q, 0, 100), "all of it")
	require.True(t, q.mustAsk(at(100)))
	require.False(t, q.answer(at(100), true), "this is no news")
	require.False(t, q.tooLong(at(159)))
	q.hear(at(120))
	require.True(t, q.mustAsk(at(124)))
	q.hear(at(125))
	require.False(t, q.answer(at(126), true), "it has spoken since")

	q = quiet{heard: begin}
	later, known := q.grant(at(100), 100*time.Second)
	require.Equal(t, 100*time.Second, later)
	require.True(t, known)
	require.False(t, q.tooLong(at(150)))
}

// TestVisitedHang: while a user looks at a hang, all deadlines stand still, once, and a tick from before does not count.
func TestVisitedHang(t *testing.T) {
	g, _ := underWay(t, 1)
	g.Hung = func(h Hung) {
		require.Equal(t, 10, h.PID)
		time.Sleep(20 * time.Millisecond)
	}
	end := morning.Add(time.Hour)
	g.clock.lastEnd, g.clock.grace = end, end
	before := time.Now()
	g.visit(Hung{PID: 10})
	moved := g.clock.lastEnd.Sub(end)
	require.GreaterOrEqual(t, moved, 20*time.Millisecond)
	require.LessOrEqual(t, moved, time.Since(before))
	require.Equal(t, g.clock.lastEnd, g.clock.grace)

	w := &watcher{group: g, ctx: t.Context(), last: before.Add(-time.Millisecond), paused: make(chan bool, 1)}
	moment := g.clock.now
	require.NoError(t, w.tick(before))
	require.Equal(t, moment, g.clock.now, "time does not go back")
	w.last, g.visited, g.clock.lastEnd = moment.Add(-time.Hour), time.Hour, moment.Add(time.Hour) // as after an hour
	_ = w.tick(moment.Add(time.Millisecond))
	require.Equal(t, moment.Add(time.Hour), g.clock.lastEnd, "it was moved already")
	require.Zero(t, g.visited)
}
