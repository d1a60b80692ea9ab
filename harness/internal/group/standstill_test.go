package group

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/verdict"
)

// ordered is a session that records its orders.
type ordered struct {
	*script
	orders []string
	played *played
}

func (o *ordered) Send(c protocol.Command) error {
	switch c := c.(type) {
	case protocol.Kill:
		o.orders = append(o.orders, fmt.Sprint("kill ", c.PID))
	case protocol.Stop:
		o.orders = append(o.orders, "stop")
	}
	return nil
}

// underWay returns a group that is running that many tests, with pids from 10 on, and pytest with pid 7.
func underWay(t *testing.T, running int) (*group, *ordered) {
	p := newPlayed(t)
	session := &ordered{script: newScript(nil), played: p}
	config := p.config(t)
	config.Budgets = Budgets{Test: time.Hour, Finish: time.Minute}
	g := newGroup(config, morning)
	g.session = session
	g.ledger.pid, g.ledger.collected = 7, true
	for i := range running + 1 {
		test := &test{Test: verdict.Test{Index: i, NodeID: fmt.Sprint("a.py::t", i)}, name: fmt.Sprint("a.py/t", i),
			selected: true, budget: time.Hour}
		g.ledger.tests, g.selected = append(g.ledger.tests, test), append(g.selected, test)
	}
	require.NoError(t, g.runSelected())
	for i := range running {
		say(t, g, fmt.Sprintf(`{"ev":"start","index":%d,"pid":%d}`, i, 10+i))
	}
	return g, session
}

// morning is when groups start in tests.
var morning = time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)

// wait lets time pass for a group that gets no event.
func wait(g *group, long time.Duration) {
	g.clock.now = g.clock.now.Add(long)
	g.checkBudgets()
}

// say feeds a group lines from its agent.
func say(t *testing.T, g *group, lines ...string) {
	t.Helper()
	for _, line := range lines {
		e, err := protocol.Decode([]byte(line))
		require.NoError(t, err)
		require.NoError(t, g.take(e))
	}
}

// seen gives a group the dump that it waits for.
func seen(g *group) {
	g.endDump(protocol.Dump{ID: g.dumps.current.id, PID: g.dumps.current.pid, Problem: "no stacks"})
}

// TestStandstillOfPytest: the time after the end of a test's process is pytest's own and has its own budget.
func TestStandstillOfPytest(t *testing.T) {
	g, session := underWay(t, 1)
	g.selected[0].at = morning.Add(-2 * time.Hour)
	say(t, g, `{"ev":"gone","pid":10}`)
	wait(g, 50*time.Second)
	require.Nil(t, g.dumps.current, "neither the test nor pytest has had its time")
	wait(g, 20*time.Second)
	require.Equal(t, 7, g.dumps.current.pid)
	require.Equal(t, "pytest's own process stood still after the end of a.py::t0 and was killed after 1m0s", g.stopping)
	seen(g)
	require.Equal(t, []string{"stop"}, session.orders)
	require.True(t, g.again)
	say(t, g, `{"ev":"finish","index":0,"pid":10,"exit":0,"complete":true}`) // too late
	require.Equal(t, verdict.Error, g.selected[0].end.Outcome)
	require.Contains(t, session.played.text(),
		"stood still after the end of a.py::t0 and was killed after 1m0s\ncause: ")
}

// TestStandstillThatEnds: a pytest that moves on during its dump is left alone.
func TestStandstillThatEnds(t *testing.T) {
	g, session := underWay(t, 1)
	say(t, g, `{"ev":"gone","pid":10}`)
	wait(g, 70*time.Second)
	say(t, g, `{"ev":"report","index":0,"when":"setup","outcome":"passed"}`,
		`{"ev":"report","index":0,"when":"call","outcome":"passed"}`,
		`{"ev":"finish","index":0,"pid":10,"exit":0,"complete":true}`)
	seen(g)
	require.Empty(t, session.orders)
	require.Empty(t, g.stopping)
	require.Equal(t, verdict.Passed, g.selected[0].end.Outcome)
}

// TestBystanders: only the test whose report pytest is stuck at is red. A test whose result is lost runs again.
func TestBystanders(t *testing.T) {
	g, _ := underWay(t, 3)
	say(t, g, `{"ev":"gone","pid":10}`, `{"ev":"gone","pid":11}`, `{"ev":"phase","index":1,"pid":11,"when":"report"}`)
	wait(g, 70*time.Second)
	require.Nil(t, g.dumps.current, "a test is at work")
	say(t, g, `{"ev":"gone","pid":12}`)
	wait(g, 70*time.Second)
	seen(g)
	g.spareBystanders()
	g.closeRunning()
	closed := []bool{}
	for _, test := range g.selected {
		closed = append(closed, test.closed)
	}
	require.Equal(t, []bool{false, true, false, false}, closed)
	require.Equal(t, verdict.Error, g.selected[1].end.Outcome)
	g.standing, g.stopping, g.again = false, "", false
	say(t, g, `{"ev":"start","index":0,"pid":20}`)
	require.Equal(t, []string{"a.py/t0", "a.py/t1", "a.py/t2"}, g.session.(*ordered).played.names(),
		"a subtest begins once")
}

// TestLateReport: a test that has ended is not red if its report is late because the next test stopped pytest.
func TestLateReport(t *testing.T) {
	g, _ := underWay(t, 2)
	say(t, g, `{"ev":"gone","pid":10}`, `{"ev":"gone","pid":11}`)
	wait(g, 70*time.Second)
	seen(g)
	g.spareBystanders()
	g.closeRunning()
	require.False(t, g.selected[0].closed)
	require.True(t, g.selected[1].closed)
	require.Equal(t, verdict.Error, g.selected[1].end.Outcome)
	require.Contains(t, g.session.(*ordered).played.text(), "stood still after the end of a.py::t1")
}

// TestStandstillsAreCounted: pytest is not restarted forever because of a hook that never returns.
func TestStandstillsAreCounted(t *testing.T) {
	g, _ := underWay(t, 5)
	for i := range maxStandstills {
		g.ledger.running = map[int]*test{i: g.selected[i]}
		g.stopping, g.standing, g.again = "", false, false
		say(t, g, fmt.Sprintf(`{"ev":"gone","pid":%d}`, 10+i))
		wait(g, 70*time.Second)
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
	began := test.at
	for range hooks - 1 {
		say(t, g, `{"ev":"phase","index":0,"pid":7,"when":"report"}`)
		require.True(t, g.ledger.idle())
		require.Equal(t, g.clock.now.Add(time.Minute), g.clock.phaseEnd)
		wait(g, time.Minute) // the hook takes a minute
		say(t, g, `{"ev":"phase","index":0,"pid":7,"when":"setup"}`)
		require.False(t, g.ledger.idle())
	}
	require.Equal(t, began.Add((hooks-1)*time.Minute), test.at)
	test.own += time.Minute
	say(t, g, `{"ev":"phase","index":0,"pid":7,"when":"report"}`)
	require.Equal(t, g.clock.now, g.clock.phaseEnd, "what is told cannot put off the end")
}
