package group

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/bytecode"
	"pyo3test/harness/internal/evidence"
	"pyo3test/harness/internal/extension"
	"pyo3test/harness/internal/protocol"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
)

// script is a session whose agent sends given lines.
type script struct {
	events chan protocol.Event
	err    error
}

// newScript reads the lines as agent.Session does: up to the last event, or to a line that is not an event.
func newScript(lines []string) *script {
	s := &script{events: make(chan protocol.Event, len(lines)), err: io.ErrUnexpectedEOF}
	defer close(s.events)
	for _, line := range lines {
		event, err := protocol.Decode([]byte(line))
		if err != nil {
			s.err = err
			return s
		}
		s.events <- event
		if _, done := event.(protocol.Done); done {
			s.err = nil
			return s
		}
	}
	return s
}

func (s *script) Events() <-chan protocol.Event { return s.events }
func (s *script) Err() error                    { return s.err }
func (s *script) Send(protocol.Command) error   { return nil }
func (s *script) Close()                        {}

// played is a group that has got events, and what it reported.
type played struct {
	stream *report.Stream
	events []report.Event
}

// newPlayed returns the start of a group's run.
func newPlayed(t testing.TB) *played {
	p := &played{}
	p.stream = report.NewStream(p)
	require.NoError(t, p.stream.Emit(report.RunStarted{Name: "TestPython"}))
	require.NoError(t, p.stream.Emit(report.GroupStarted{Group: "g"}))
	return p
}

// Report keeps an event.
func (p *played) Report(_ time.Time, e report.Event, _ *report.Tally) error {
	p.events = append(p.events, e)
	return nil
}

func (p *played) red() bool { return p.stream.Red("g") }

func (p *played) text() string { return fmt.Sprintf("%+v", p.events) }

// names returns the names of the tests that started.
func (p *played) names() (names []string) {
	for _, e := range p.events {
		if started, ok := e.(report.TestStarted); ok {
			names = append(names, started.Name)
		}
	}
	return names
}

// config returns the configuration of a group that needs no container.
func (p *played) config(t testing.TB) Config {
	matcher, err := subtest.NewMatcher("", "")
	require.NoError(t, err)
	return Config{
		Evidence: &evidence.Run{}, Stream: p.stream, Matcher: matcher, Bytecode: &bytecode.Store{}, Name: "g",
		TestName: "TestPython/g", Isolation: "forked",
	}
}

// play runs a group whose agent sends these lines, as Run does after its start.
func play(t testing.TB, lines []string) *played {
	p := newPlayed(t)
	minute := time.Minute
	config := p.config(t)
	config.Extension = extension.Extension{Modules: []extension.Module{{Name: "tiny"}}}
	config.Budgets = Budgets{minute, minute, minute, minute, minute}
	g := newGroup(config, time.Now())
	g.session = newScript(lines)
	if err := g.watch(t.Context()); err != nil {
		g.problem("%v", err)
	}
	g.conclude(t.Context())
	require.NoError(t, p.stream.Emit(g.ended()), "the events do not contradict each other")
	return p
}

const goodJUnit = `<testsuites><testsuite><testcase classname="a" name="t0"/><testcase classname="a" name="t1"><skipped/></testcase>` +
	`<testcase classname="a" name="t2"/></testsuite></testsuites>`

// goodSession returns what an agent sends for three tests: one passes, one is skipped, one has a subtest.
func goodSession() []string {
	lines := []string{
		`{"ev":"ready","pid":1,"protocol":1}`, `{"ev":"importing","pid":7}`,
		`{"ev":"import","ok":true,"module":"tiny"}`, `{"ev":"started","pid":8}`,
		`{"ev":"session","pytest":"9.2.0","workers":1}`, `{"ev":"collecting","nodeid":"a.py"}`,
	}
	for i := range 3 {
		lines = append(lines, fmt.Sprintf(`{"ev":"item","index":%d,"nodeid":"a.py::t%d","junit":["a","t%d"]}`, i, i, i))
	}
	lines = append(lines, `{"ev":"collected","count":3}`)
	for i := range 3 {
		at := fmt.Sprintf(`"index":%d,"pid":%d`, i, 10+i)
		lines = append(lines, `{"ev":"start",`+at+`}`)
		switch i {
		case 1:
			lines = append(lines, `{"ev":"report",`+at+`,"when":"setup","outcome":"skipped"}`)
		case 2:
			lines = append(lines, `{"ev":"report",`+at+`,"when":"setup","outcome":"passed"}`,
				`{"ev":"report",`+at+`,"when":"call","outcome":"passed","subtest":{"description":"s"}}`,
				`{"ev":"report",`+at+`,"when":"call","outcome":"passed"}`)
		default:
			lines = append(lines, `{"ev":"report",`+at+`,"when":"setup","outcome":"passed"}`,
				`{"ev":"report",`+at+`,"when":"call","outcome":"passed"}`)
		}
		lines = append(lines, `{"ev":"report",`+at+`,"when":"teardown","outcome":"passed"}`,
			`{"ev":"finish",`+at+`,"exit":0,"complete":true}`)
	}
	return append(lines, `{"ev":"finished","exitstatus":0}`, `{"ev":"leave"}`, junitLine(goodJUnit),
		`{"ev":"exit","exit":0}`, `{"ev":"done"}`)
}

func junitLine(file string) string {
	return `{"ev":"junit","data":"` + base64.StdEncoding.EncodeToString([]byte(file)) + `"}`
}

func TestGoodSession(t *testing.T) {
	top := play(t, goodSession())
	require.False(t, top.red(), top.text())
	require.Equal(t, []string{"a.py/t0", "a.py/t1", "a.py/t2"}, top.names())
}

// TestNoLineMayBeMissingOrTwice: a good session turns red if any line is missing or doubled, except the few that carry
// no verdict.
func TestNoLineMayBeMissingOrTwice(t *testing.T) {
	harmless := []string{"ready", "importing", "started", "session", "collecting"}
	for i, line := range goodSession() {
		event, err := protocol.Decode([]byte(line))
		require.NoError(t, err)
		told, isReport := event.(protocol.TestReport)
		if slices.Contains(harmless, event.Kind()) || told.When == "setup" || told.When == "teardown" ||
			told.Subtest != nil {
			continue
		}
		require.True(t, play(t, slices.Delete(goodSession(), i, i+1)).red(), "without %s", line)
		if _, done := event.(protocol.Done); !isReport && !done {
			require.True(t, play(t, slices.Insert(goodSession(), i, line)).red(), "with %s twice", line)
		}
	}
}

func TestContradictions(t *testing.T) {
	start := slices.IndexFunc(goodSession(), func(line string) bool { return strings.Contains(line, `"start"`) })
	for line, want := range map[string]string{
		`{"ev":"item","index":3,"nodeid":"a.py::t3","junit":["a","t3"]}`: `"item" after the end of the collection`,
		`{"ev":"collected","count":3}`:                                   `"collected" after the end of the collection`,
		`{"ev":"finished","exitstatus":0}`:                               `"finished" while a test runs`,
		`{"ev":"start","index":7}`:                                       "an event of test 7, which was not to run",
		`{"ev":"garbage","text":"noise"}`:                                `something other than the plugin wrote to its stream of events: "noise"`,
		`{"ev":"fly"}`:                                                   `unknown event "fly"`,
		`{"ev":"phase","index":-1}`:                                      "negative index",
		`{"ev":"foreign","module":"tiny","file":"/a","built":"/b"}`: "the tests import tiny from /a, " +
			"and what was built is /b",
	} {
		top := play(t, slices.Insert(goodSession(), start+1, line))
		require.True(t, top.red(), line)
		require.Contains(t, top.text(), want)
	}
}

// FuzzSession edits a good session, with three bytes per edit. It may be green only if it is still a consistent session
// of passes and skips.
func FuzzSession(f *testing.F) {
	for op := range byte(operations) {
		f.Add([]byte{op, 3, 9, op, 14, 2})
	}
	f.Fuzz(func(t *testing.T, edits []byte) {
		lines := goodSession()
		for chunk := range slices.Chunk(edits, 3) {
			if len(chunk) == 3 && len(lines) > 0 {
				lines = editSession(lines, chunk[0], int(chunk[1]), int(chunk[2]))
			}
		}
		top := play(t, lines)
		if why := contradiction(lines); why != nil && !top.red() {
			t.Errorf("green, although %v:\n%s\n%s", why, strings.Join(lines, "\n"), top.text())
		}
	})
}

// foreignLines holds lines that a fuzzer would take long to find.
var foreignLines = []string{
	`{"ev":"garbage","text":"x"}`, `{"ev":"error","message":"x"}`, `{"ev":"foreign","module":"tiny"}`,
	`{"ev":"import","ok":false,"module":"tiny"}`,
	`{"ev":"collect-error","nodeid":"b.py","junit":["","b"]}`, `{"ev":"collect-skip","nodeid":"b.py","junit":["","b"]}`,
	`{"ev":"finish","index":0,"exit":3,"complete":true}`, `{"ev":"finish","index":0,"signal":9}`,
	`{"ev":"finish","index":0,"exit":0,"complete":false}`,
	`{"ev":"finish","index":1,"exit":0,"complete":true,"killed":"hung"}`,
	`{"ev":"finish","index":1,"exit":0,"complete":true,"interrupt":"x"}`,
	`{"ev":"finished","exitstatus":5}`, `{"ev":"finished","exitstatus":1}`, `{"ev":"exit","signal":9}`,
	`{"ev":"exit","exit":5}`, `{"ev":"exit"}`,
	`{"ev":"report","index":2,"when":"call","outcome":"rerun"}`,
	`{"ev":"report","index":0,"when":"call","outcome":"failed"}`,
	`{"ev":"collected","count":0}`, `{"ev":"collected","count":2}`, `{"ev":"warning"}`, `{"ev":"beat"}`,
	`{"ev":"deadlock","index":0,"pid":10}`, `{"ev":"dump","id":"x"}`, `{"ev":"killed","pid":3}`,
	`{"ev":"item","index":3,"nodeid":"a.py::t0","junit":["a","t0"]}`, `{"ev":"leave"}`, `{"ev":"done"}`, `nonsense`,
	junitLine("<testsuites>"), junitLine(`<testsuite/>`),
	junitLine(strings.Replace(goodJUnit, "<skipped/>", "<error/>", 1)),
}

const operations = 7

func editSession(lines []string, op byte, i, j int) []string {
	i %= len(lines)
	switch op % operations {
	case 0:
		return slices.Delete(lines, i, i+1)
	case 1:
		return slices.Insert(lines, j%(len(lines)+1), lines[i])
	case 2:
		j %= len(lines)
		lines[i], lines[j] = lines[j], lines[i]
	case 3:
		return slices.Insert(lines, i, foreignLines[j%len(foreignLines)])
	case 4:
		words := []string{"passed", "skipped", "failed", "rerun", "true", "false", "setup", "call", "teardown", "start",
			"finish"}
		word, other := words[j%len(words)], words[j/len(words)%len(words)]
		lines[i] = strings.Replace(lines[i], word, other, 1)
	case 5:
		if at := strings.IndexAny(lines[i], "0123456789"); at >= 0 {
			lines[i] = lines[i][:at] + fmt.Sprint(j%12) + lines[i][at+1:]
		}
	case 6:
		lines[i] = lines[i][:j%(len(lines[i])+1)]
	}
	return lines
}

// contradiction returns why a session is not one of passes and skips alone. It knows the protocol and not the group.
func contradiction(lines []string) error {
	count := map[string]int{}
	type life struct{ started, finished, told bool }
	var lives []*life
	var names []string
	var junit []byte
	ended := false
	for _, line := range lines {
		e, err := protocol.Decode([]byte(line))
		if err != nil {
			return err
		}
		count[e.Kind()]++
		var of *life
		if e, ok := e.(protocol.TestEvent); ok {
			if e.TestIndex() >= len(lives) || count["collected"] != 1 || count["finished"] != 0 {
				return errors.New("an event of a test that cannot be")
			}
			of = lives[e.TestIndex()]
		}
		switch e := e.(type) {
		case protocol.Garbage, protocol.Error, protocol.Foreign, protocol.CollectError:
			return fmt.Errorf("there is a %s", e.Kind())
		case protocol.Import:
			if !e.OK {
				return errors.New("an import failed")
			}
		case protocol.Item:
			lives, names = append(lives, &life{}), append(names, e.JUnitName[1])
			if e.Index != len(lives)-1 || count["collected"] > 0 {
				return errors.New("an item out of order")
			}
		case protocol.Collected:
			if e.Count != len(lives) || e.Count == 0 {
				return errors.New("a wrong count")
			}
		case protocol.TestStart:
			if of.started {
				return errors.New("a test began twice")
			}
			of.started = true
		case protocol.TestReport:
			of.told = of.told && e.Outcome != "rerun" || e.When == "call" && e.Subtest == nil || e.Outcome == "skipped"
			if e.Outcome == "failed" || !of.started || of.finished {
				return errors.New("a bad report")
			}
		case protocol.TestFinish:
			f := e
			if !of.started || of.finished || f.Exit == nil || *f.Exit != 0 || f.Signal != nil || f.Killed != nil ||
				f.Interrupt != "" || !f.Complete || !of.told {
				return errors.New("a bad finish")
			}
			of.finished = true
		case protocol.Finished:
			if e.ExitStatus != 0 {
				return errors.New("a bad status")
			}
		case protocol.JUnit:
			junit = append(junit, e.Data...)
		case protocol.Exit:
			if e.Exit == nil || *e.Exit != 0 || e.Signal != nil {
				return errors.New("a bad end")
			}
		}
		if _, ended = e.(protocol.Done); ended {
			break
		}
	}
	for _, kind := range []string{"import", "collected", "finished", "leave", "exit"} {
		if count[kind] != 1 {
			return fmt.Errorf("there are %d of %s", count[kind], kind)
		}
	}
	if !ended || slices.ContainsFunc(lives, func(l *life) bool { return !l.finished }) {
		return errors.New("something has no end")
	}
	cases, err := verdict.ReadJUnit(bytes.NewReader(junit), maxJUnit)
	for i := range cases {
		if cases[i].State == verdict.Red {
			return errors.New("JUnit has a failure")
		}
		names = slices.DeleteFunc(names, func(name string) bool { return name == cases[i].Name })
	}
	if len(names) > 0 {
		return errors.New("JUnit lacks a test")
	}
	return err
}

// FuzzLines feeds a group lines of any kind: it always ends, and is red unless the session is consistent.
func FuzzLines(f *testing.F) {
	f.Add([]byte(strings.Join(goodSession(), "\n")))
	f.Add([]byte(strings.Join(foreignLines, "\n")))
	f.Add(binary.BigEndian.AppendUint64(nil, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := strings.Split(string(data), "\n")
		top := play(t, lines)
		if why := contradiction(lines); why != nil && !top.red() {
			t.Errorf("green, although %v\n%s", why, top.text())
		}
	})
}

// killed is a session that records what it is told to kill.
type killed struct {
	*script
	messages []string
}

func (k *killed) Send(c protocol.Command) error {
	if kill, ok := c.(protocol.Kill); ok {
		k.messages = append(k.messages, fmt.Sprintf("%d %s %s", kill.PID, kill.Reason, kill.Message))
	}
	return nil
}

func TestDeadlockEndsItsTestAtOnce(t *testing.T) {
	for _, c := range []struct {
		threads int
		want    string
	}{
		{1, "10 hung hung: deadlock proved after 2.1s: its only thread can never run again"},
		{3, "10 hung hung: deadlock proved after 2.1s: none of its 3 threads can ever run again"},
	} {
		session := &killed{script: newScript(nil)}
		running := &test{budget: time.Hour, start: start{pid: 10, at: morning}}
		g := newGroup(Config{Evidence: &evidence.Run{}}, morning)
		g.session = session
		g.ledger.running[4] = running
		running.Index = 4
		proof := func(pid int) protocol.Event {
			e, err := protocol.Decode([]byte(fmt.Sprintf(`{"ev":"deadlock","t":9,"pid":%d,"after":2.09,"threads":%d,"text":"the proof"}`, pid, c.threads)))
			require.NoError(t, err)
			return e
		}
		require.NoError(t, g.take(proof(11)))
		require.Nil(t, g.dumps.current, "of a test that does not run")
		require.NoError(t, g.take(proof(10)))
		require.NoError(t, g.take(proof(10)))
		require.Equal(t, 10, g.dumps.current.pid)
		require.Empty(t, g.dumps.waiting, "one dump is enough")
		require.Empty(t, session.messages, "stacks come first")
		g.endDump(protocol.Dump{ID: g.dumps.current.id, Problem: "no stacks"})
		require.Equal(t, []string{c.want}, session.messages)
		require.Contains(t, running.Seen, "\nthe proof\nstacks of process ")
	}
}

// TestDeadlockOutsideTests: a deadlocked pytest does not use up its phase's budget, but is not ended while a test runs.
func TestDeadlockOutsideTests(t *testing.T) {
	proof := protocol.Deadlock{PID: 7, Threads: 2, Text: "the proof"}
	for phase, want := range map[phase]string{
		collecting: "pytest hung during collection of a.py and was killed: deadlock proved: none of its 2 " +
			"threads can ever run again\n",

		exiting: "pytest's session was over, and its interpreter did not end (deadlock proved: none of its 2 threads " +
			"can ever run again): it was killed\n",
	} {
		g := newGroup(Config{Evidence: &evidence.Run{}, Budgets: Budgets{Collect: time.Hour, Exit: time.Hour}}, morning)
		g.session = newScript(nil)
		g.ledger.pid, g.ledger.collecting = 7, "a.py"
		g.ledger.running[0] = &test{budget: time.Hour, start: start{pid: 10, at: morning}}
		g.enter(phase)
		g.endDeadlock(proof)
		require.Nil(t, g.dumps.current, "a test runs")
		delete(g.ledger.running, 0)
		g.endDeadlock(proof)
		require.Equal(t, 7, g.dumps.current.pid)
		g.endDump(protocol.Dump{ID: g.dumps.current.id, PID: 7, Problem: "no stacks"})
		said := g.exitFault
		for _, hung := range g.hungFiles {
			said += strings.Replace(hung.Longrepr, "pytest hung as it imported this file, and",
				"pytest hung during collection of a.py and", 1)
		}
		require.Contains(t, said, want)
		require.Contains(t, said, "the proof\n")
	}
}

// TestDeadlockOfAHungTest: a proof that comes after the budget is used up changes nothing.
func TestDeadlockOfAHungTest(t *testing.T) {
	session := &killed{script: newScript(nil)}
	g := newGroup(Config{Evidence: &evidence.Run{}}, morning)
	g.session = session
	g.ledger.running[0] = &test{budget: time.Second, start: start{pid: 10, at: morning.Add(-time.Minute)}}
	g.checkBudgets()
	require.NoError(t, g.take(protocol.Deadlock{PID: 10, Text: "the proof"}))
	g.endDump(protocol.Dump{ID: g.dumps.current.id, Problem: "no stacks"})
	require.Equal(t, []string{"10 hung hung: no end within 1s"}, session.messages)
	require.NotContains(t, g.ledger.running[0].Seen, "the proof")
	require.Contains(t, g.ledger.running[0].Seen, "no stacks")
}
