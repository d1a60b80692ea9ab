package group

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/agent"
	"pyo3test/harness/internal/verdict"
)

// ordered is a session that records its orders.
type ordered struct {
	*script
	orders []string
	played *played
}

func (o *ordered) Kill(pid int, _, _ string) error {
	o.orders = append(o.orders, fmt.Sprint("kill ", pid))
	return nil
}

func (o *ordered) Stop() error {
	o.orders = append(o.orders, "stop")
	return nil
}

// attemptOf returns a first attempt with a session.
func attemptOf(session session) attempt {
	a := newAttempt(0)
	a.session = session
	return a
}

// underWay returns a group that is running that many tests, with pids from 10 on, and pytest with pid 7.
func underWay(t *testing.T, running int) (*group, *ordered) {
	session := &ordered{script: newScript(nil)}
	p := newPlayed(t)
	g := &group{Config: p.config(t), pytest: 7, attempt: attemptOf(session)}
	g.Budgets = Budgets{Test: time.Hour, Finish: time.Minute}
	session.played = p
	g.chosen = true
	for i := range running + 1 {
		test := &test{Test: verdict.Test{Index: i, NodeID: fmt.Sprint("a.py::t", i)}, name: fmt.Sprint("a.py/t", i), selected: true, budget: time.Hour}
		g.tests, g.selected = append(g.tests, test), append(g.selected, test)
	}
	g.unfinished = running + 1
	g.enterPhase(inTests)
	for i := range running {
		say(t, g, fmt.Sprintf(`{"ev":"start","index":%d,"pid":%d}`, i, 10+i))
	}
	return g, session
}

// say feeds a group lines from its agent.
func say(t *testing.T, g *group, lines ...string) {
	t.Helper()
	for _, line := range lines {
		e, err := agent.Decode([]byte(line))
		require.NoError(t, err)
		require.NoError(t, g.take(e))
	}
}

// seen gives a group the dump that it waits for.
func seen(g *group) { g.endDump(agent.Event{ID: g.dump.id, PID: g.dump.pid, Problem: "no stacks"}) }

// TestStandstillOfPytest: the time after the end of a test's process is pytest's own and has its own budget.
func TestStandstillOfPytest(t *testing.T) {
	g, session := underWay(t, 1)
	g.selected[0].started = time.Now().Add(-2 * time.Hour)
	say(t, g, `{"ev":"gone","pid":10}`)
	g.checkBudgets(time.Now().Add(50 * time.Second))
	require.Nil(t, g.dump, "neither the test nor pytest has had its time")
	g.checkBudgets(time.Now().Add(70 * time.Second))
	require.Equal(t, 7, g.dump.pid)
	require.Equal(t, "pytest's own process stood still after the end of a.py::t0 and was killed after 1m0s", g.stopping)
	seen(g)
	require.Equal(t, []string{"stop"}, session.orders)
	require.True(t, g.again)
	say(t, g, `{"ev":"finish","index":0,"pid":10,"exit":0,"complete":true}`) // too late
	require.Equal(t, verdict.Error, g.selected[0].Verdict().Outcome)
	require.Contains(t, g.selected[0].Verdict().Text, "stood still after the end of a.py::t0 and was killed after 1m0s\ncause: ")
}

// TestStandstillThatEnds: a pytest that moves on during its dump is left alone.
func TestStandstillThatEnds(t *testing.T) {
	g, session := underWay(t, 1)
	say(t, g, `{"ev":"gone","pid":10}`)
	g.checkBudgets(time.Now().Add(70 * time.Second))
	say(t, g, `{"ev":"report","index":0,"when":"setup","outcome":"passed"}`, `{"ev":"report","index":0,"when":"call","outcome":"passed"}`,
		`{"ev":"finish","index":0,"pid":10,"exit":0,"complete":true}`)
	seen(g)
	require.Empty(t, session.orders)
	require.Empty(t, g.stopping)
	require.Equal(t, verdict.Passed, g.selected[0].Verdict().Outcome)
}

// TestBystanders: only the test whose report pytest is stuck at is red. A test whose result is lost runs again.
func TestBystanders(t *testing.T) {
	g, _ := underWay(t, 3)
	say(t, g, `{"ev":"gone","pid":10}`, `{"ev":"gone","pid":11}`, `{"ev":"phase","index":1,"pid":11,"when":"report"}`)
	g.checkBudgets(time.Now().Add(70 * time.Second))
	require.Nil(t, g.dump, "a test is at work")
	say(t, g, `{"ev":"gone","pid":12}`)
	g.checkBudgets(time.Now().Add(70 * time.Second))
	seen(g)
	g.spareBystanders()
	g.closeRunning()
	closed := []bool{}
	for _, test := range g.selected {
		closed = append(closed, test.closed)
	}
	require.Equal(t, []bool{false, true, false, false}, closed)
	require.Equal(t, verdict.Error, g.selected[1].Verdict().Outcome)
	g.standing, g.stopping, g.again = false, "", false
	say(t, g, `{"ev":"start","index":0,"pid":20}`)
	require.Equal(t, []string{"a.py/t0", "a.py/t1", "a.py/t2"}, g.session.(*ordered).played.names(), "a subtest begins once")
}

// TestLateReport: a test that has ended is not red if its report is late because the next test stopped pytest.
func TestLateReport(t *testing.T) {
	g, _ := underWay(t, 2)
	say(t, g, `{"ev":"gone","pid":10}`, `{"ev":"gone","pid":11}`)
	g.checkBudgets(time.Now().Add(70 * time.Second))
	seen(g)
	g.spareBystanders()
	g.closeRunning()
	require.False(t, g.selected[0].closed)
	require.True(t, g.selected[1].closed)
	require.Equal(t, verdict.Error, g.selected[1].Verdict().Outcome)
	require.Contains(t, g.selected[1].Seen, "stood still after the end of a.py::t1")
}

// TestStandstillsAreCounted: pytest is not restarted forever because of a hook that never returns.
func TestStandstillsAreCounted(t *testing.T) {
	g, _ := underWay(t, 5)
	for i := range maxStandstills {
		g.running = map[int]*test{i: g.selected[i]}
		g.stopping, g.standing, g.again = "", false, false
		say(t, g, fmt.Sprintf(`{"ev":"gone","pid":%d}`, 10+i))
		g.checkBudgets(time.Now().Add(70 * time.Second))
		seen(g)
		require.Equal(t, i+1 < maxStandstills, g.again)
	}
}

// TestHooksInProcess: the time of hooks in pytest's own process does not count as a test's there either, and has its
// own bound.
func TestHooksInProcess(t *testing.T) {
	g, _ := underWay(t, 0)
	say(t, g, `{"ev":"start","index":0,"pid":7}`)
	test := g.selected[0]
	began := test.started
	for range hooks - 1 {
		say(t, g, `{"ev":"phase","index":0,"pid":7,"when":"report"}`)
		require.True(t, g.isIdle())
		require.WithinDuration(t, time.Now().Add(time.Minute), g.phaseEnd, time.Second)
		test.reporting = test.reporting.Add(-time.Minute) // the hook takes a minute
		say(t, g, `{"ev":"phase","index":0,"pid":7,"when":"setup"}`)
		require.False(t, g.isIdle())
	}
	require.WithinDuration(t, began.Add((hooks-1)*time.Minute), test.started, time.Second)
	test.own += time.Minute
	say(t, g, `{"ev":"phase","index":0,"pid":7,"when":"report"}`)
	require.WithinDuration(t, time.Now(), g.phaseEnd, time.Second, "what is told cannot put off the end")
}

// TestKillThatIsNotCarriedOut: the group does not wait forever for a kill.
func TestKillThatIsNotCarriedOut(t *testing.T) {
	g, session := underWay(t, 1)
	g.checkBudgets(time.Now().Add(2 * time.Hour))
	seen(g)
	g.checkBudgets(time.Now())
	require.Equal(t, []string{"kill 10"}, session.orders)
	g.checkBudgets(time.Now().Add(deathTimeout + time.Second))
	require.Equal(t, []string{"kill 10", "stop"}, session.orders)
	g.quiet.hear(time.Now())
	require.NoError(t, g.giveUp(time.Now()))
	require.ErrorContains(t, g.giveUp(time.Now().Add(killTimeout+time.Second)), "pytest was told to end and its end was not reported")
}

// TestLastEnd: a group ends, whatever events arrive.
func TestLastEnd(t *testing.T) {
	g, _ := underWay(t, 1)
	require.NoError(t, g.runSelected())
	say(t, g, `{"ev":"start","index":1,"pid":20}`)
	sum := g.longest()
	require.Greater(t, sum, 2*time.Hour)
	require.Less(t, sum, 3*time.Hour)
	g.quiet.hear(time.Now().Add(sum + 30*time.Second))
	require.NoError(t, g.giveUp(time.Now().Add(sum-time.Minute)))
	require.ErrorContains(t, g.giveUp(time.Now().Add(sum+time.Minute)), "has used up all its budgets together")
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
