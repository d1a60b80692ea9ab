package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/verdict"
)

// play passes events to reporters, one each second, and returns what they object to.
func play(events []Event, to ...Reporter) error {
	at := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	s := NewStream(to...)
	s.now = func() time.Time { at = at.Add(time.Second); return at }
	var errs []error
	for _, e := range events {
		errs = append(errs, s.Emit(e))
	}
	return errors.Join(errs...)
}

// tallied counts events, and returns what contradicts what.
func tallied(events []Event) (*Tally, error) {
	var tally Tally
	var errs []error
	for _, e := range events {
		errs = append(errs, tally.take(e))
	}
	return &tally, errors.Join(errs...)
}

func named(id string) Test {
	return Test{Group: "g", Name: strings.ReplaceAll(id, "::", "/"), NodeID: id}
}

func start(id string) Event { return TestStarted{named(id)} }

func end(id string, outcome verdict.Outcome) Event {
	return TestEnded{Test: named(id), Outcome: outcome}
}

// group returns a whole run of one group with the events.
func group(red bool, events ...Event) []Event {
	all := append([]Event{RunStarted{Name: "run"}, GroupStarted{Group: "g"}}, events...)
	return append(all, GroupEnded{Group: "g"}, RunEnded{Red: red})
}

// TestContradictions: events that cannot come after each other are errors.
func TestContradictions(t *testing.T) {
	const passed = verdict.Passed
	for want, events := range map[string][]Event{
		"group-started before the start of the run": {GroupStarted{Group: "g"}},
		"run-started after the start of the run":    {RunStarted{}, RunStarted{}},
		"note after the end of the run":             append(group(false), Note{}),
		"group-started of g for the second time":    group(false, GroupStarted{Group: "g"}),
		"test-started of g, which has not started":  {RunStarted{}, start("a.py::t")},
		"problem of g, which has ended": {RunStarted{}, GroupStarted{Group: "g"},
			GroupEnded{Group: "g"}, Problem{Group: "g"}},
		"selected of g for the second time": group(false, Selected{Group: "g"},
			Selected{Group: "g"}),
		"test-started of a.py/t for the second time": group(false, start("a.py::t"), start("a.py::t"),
			end("a.py::t", passed)),
		"test-ended of a.py/t for the second time": group(false, start("a.py::t"),
			end("a.py::t", passed), end("a.py::t", passed)),
		"test-ended of a.py/t, which had not started":  group(false, end("a.py::t", passed)),
		"group-ended of g, where 1 test had not ended": group(false, start("a.py::t")),
		"run-ended before the end of g": {RunStarted{}, GroupStarted{Group: "g"},
			RunEnded{}},
		"run-ended with red = false, which is true by the other": group(false, Problem{Group: "g"}),
		"run-ended with red = true, which is false by the other": group(true, start("a.py::t"),
			end("a.py::t", passed)),
		"run-ended with red = false, which is true by the other even": {RunStarted{}, Problem{Cause: CauseBuild},
			RunEnded{}},
	} {
		require.ErrorContains(t, play(events), want)
	}
	require.NoError(t, play(group(true, end("a.py::t", verdict.NotRun))), "a test that never started has one event")
}

// TestResult: what a run that ends in some way counts as.
func TestResult(t *testing.T) {
	for name, c := range map[string]struct {
		events []Event
		want   Result
	}{
		"green": {group(false, start("a::t"), end("a::t", verdict.Passed)),
			Result{Outcomes: map[string]verdict.Outcome{"a::t": verdict.Passed}}},
		"a test": {group(true, start("a::t"), end("a::t", verdict.Failed)),
			Result{Red: true, Outcomes: map[string]verdict.Outcome{"a::t": verdict.Failed}}},
		"a file": {group(true, FileFailed{Test: named("a")}),
			Result{Red: true, Cause: CauseCollection, Outcomes: map[string]verdict.Outcome{"a": verdict.Error}}},
		"the end of the interpreter": {group(true, ExitFailed{Group: "g"}), Result{Red: true, Beside: true}},
		"the group":                  {group(true, Problem{Group: "g"}), Result{Red: true, Beside: true}},
		"an end of which each test knows": {
			group(true, end("a::t", verdict.NotRun), Problem{Group: "g", Listed: true}),
			Result{Red: true, Outcomes: map[string]verdict.Outcome{"a::t": verdict.NotRun}},
		},
		"no build": {[]Event{RunStarted{}, Problem{Cause: CauseBuild}, RunEnded{Red: true}},
			Result{Red: true, Beside: true, Refused: true, Cause: CauseBuild}},
		"one id twice": {
			group(true, TestStarted{Test{"g", "x", "a::t"}}, TestStarted{Test{"g", "y", "a::t"}},
				TestEnded{Test: Test{"g", "x", "a::t"}, Outcome: verdict.Failed},
				TestEnded{Test: Test{"g", "y", "a::t"}, Outcome: verdict.Passed}),
			Result{Red: true, Outcomes: map[string]verdict.Outcome{"a::t": verdict.Failed}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tally, err := tallied(c.events)
			require.NoError(t, err)
			if c.want.Outcomes == nil {
				c.want.Outcomes = map[string]verdict.Outcome{}
			}
			c.want.Ended = true
			for _, e := range c.events {
				if _, ok := e.(TestEnded); ok {
					c.want.Tests++
				}
			}
			require.Equal(t, c.want, tally.Result())
		})
	}
}

// TestSummaries: the last line of a group and of a run says what happened, and never looks green if something failed.
func TestSummaries(t *testing.T) {
	summary := func(events ...Event) string {
		tally, _ := tallied(append([]Event{RunStarted{Name: "run"}}, events...))
		return tally.summary()
	}
	started, two := GroupStarted{Group: "g"}, Selected{Group: "g", Tests: 2, Collected: 3}
	passed := []Event{started, two, start("a::t"), end("a::t", verdict.Passed)}
	and := func(events ...Event) []Event { return append(passed[:len(passed):len(passed)], events...) }
	require.Equal(t, "no test was run: the build failed", summary(Problem{Cause: CauseBuild, Text: "error"}))
	require.Equal(t, "no test was run: the run was interrupted", summary(Problem{Cause: CauseInterrupted}))
	require.Equal(t, "no test was run: a module cannot be imported",
		summary(started, Problem{Group: "g", Text: "a module cannot be imported:\nno\n"}))
	require.Equal(t, "0 of 0 tests: none was found",
		summary(started, Selected{Group: "g"}, Problem{Group: "g", Text: "no tests"}))
	require.Equal(t, "0 of 3 tests: no tests to run", summary(started, Selected{Group: "g", Collected: 3}))
	require.Equal(t, "2 of 3 tests: 1 passed", summary(passed...))
	require.Equal(t, "2 of 3 tests: 1 passed, an error of the session", summary(and(Problem{Group: "g"})...))
	require.Equal(t, "2 of 3 tests: 1 passed, a bad end of the interpreter", summary(and(ExitFailed{Group: "g"})...))
	require.Equal(t, "2 of 3 tests: 1 passed, 1 collection error; 2 warnings",
		summary(and(FileFailed{Test: named("b")}, GroupEnded{Group: "g", Warnings: 2})...))
	require.Equal(t, "2 of 3 tests: 1 passed, 1 crashed, 1 of them leaky (a::u), 1 of them slow (a::u)",
		summary(and(start("a::u"), TestSlow{Test: named("a::u")},
			TestEnded{Test: named("a::u"), Outcome: verdict.Crashed, Left: 1})...))
	require.Equal(t, "3 of 4 tests: 1 passed, an error of the session",
		summary(and(GroupStarted{Group: "h"}, Selected{Group: "h", Tests: 1, Collected: 1},
			Problem{Group: "h", Text: "no"})...))
}

// TestSeveralGroups: a terminal shows the summary of each group, and of the run.
func TestSeveralGroups(t *testing.T) {
	var out bytes.Buffer
	other := Test{Group: "h", Name: "b", NodeID: "b::t"}
	require.NoError(t, play([]Event{
		RunStarted{Name: "run"}, GroupStarted{Group: "g"}, GroupStarted{Group: "h"},
		Selected{Group: "g", Tests: 1, Collected: 1}, Selected{Group: "h", Tests: 1, Collected: 2},
		start("a::t"), TestStarted{other}, end("a::t", verdict.Passed),
		TestEnded{Test: other, Outcome: verdict.Leaky, Left: 1},
		GroupEnded{Group: "g"}, GroupEnded{Group: "h"}, RunEnded{Red: true},
	}, NewTerminal(Screen{Out: &out, Again: again})))
	require.Contains(t, out.String(), "\n    g: 1 of 1 tests: 1 passed\n")
	require.Contains(t, out.String(), "\n    h: 1 of 2 tests: 1 leaky\n")
	require.Contains(t, out.String(), "] 2 of 3 tests: 1 passed, 1 leaky\n       LEAKY b::t\n")
}

// TestSilence: after a silence the terminal, and go test, show what is at work.
func TestSilence(t *testing.T) {
	silent := make([]Event, Heartbeat/time.Second+1)
	for i := range silent {
		silent[i] = Tick{}
	}
	var out bytes.Buffer
	events := append([]Event{RunStarted{Name: "run"}, PhaseStarted{Phase: "build"},
		Progress{Phase: "build", Text: "serde", Done: 27, Total: 41}}, silent...)
	require.NoError(t, play(events, NewTerminal(Screen{Out: &out})))
	require.Equal(t, "    Building [  30.000s] 27/41 serde\n", out.String())
	out.Reset()
	require.NoError(t, play(events, NewGoTest(&fakeT{name: "run", out: &out}, false, goAgain)))
	require.Equal(t, "  31.0s build  27/41 serde: still at work after 30 s\n", out.String())
	out.Reset()
	require.NoError(t, play(append([]Event{RunStarted{Name: "run"}, GroupStarted{Group: "g"},
		Selected{Group: "g", Tests: 1}, start("a::t")}, silent...),
		NewTerminal(Screen{Out: &out})))
	require.Contains(t, out.String(), "\n     running [  29.000s] a::t\n")
}

// TestVerbose: what the tools print is shown on request.
func TestVerbose(t *testing.T) {
	events := []Event{RunStarted{Name: "run"}, PhaseStarted{Phase: "build"},
		Progress{Phase: "build", Text: "   Compiling serde"}}
	for verbose, want := range map[bool]string{true: "   Compiling serde\n", false: ""} {
		var screen, out bytes.Buffer
		require.NoError(t, play(events, NewTerminal(Screen{Out: &screen, Verbose: verbose}),
			NewGoTest(&fakeT{name: "run", out: &out}, verbose, goAgain)))
		require.True(t, strings.HasSuffix(screen.String(), want) && (verbose || screen.Len() == 0), screen.String())
		require.True(t, strings.HasSuffix(out.String(), want) && (verbose || out.Len() == 0), out.String())
	}
}

// excluding is a T that runs no subtest.
type excluding struct{ *fakeT }

func (e excluding) Run(string, func(T)) bool { return true }

// TestExcluded: what testing does not run is reported, once.
func TestExcluded(t *testing.T) {
	g := NewGoTest(excluding{&fakeT{name: "run", out: &bytes.Buffer{}}}, false, goAgain)
	require.NoError(t, g.Report(time.Time{}, RunStarted{Name: "run"}, &Tally{}))
	require.ErrorIs(t, g.Report(time.Time{}, start("a::t"), &Tally{}), ErrExcluded)
	require.NoError(t, g.Report(time.Time{}, end("a::t", verdict.Passed), &Tally{}))
	require.ErrorIs(t, g.Report(time.Time{}, end("a::u", verdict.NotRun), &Tally{}), ErrExcluded)
}

// TestHostileText: nothing that comes from a test is obeyed by who reads a reporter's output.
func TestHostileText(t *testing.T) {
	const evil = "\x1b]52;c;aGk=\a\n::error::forged\n\t ##[error]forged\r\n\x16--- PASS: forged (0.00s)\n--- FAIL: " +
		"forged (0.00s)\n=== RUN   forged\n1\r2\b\u009b\u202e\xff\n"
	test := Test{Group: "group" + evil, Name: "a.py/t" + evil, NodeID: "a.py::t" + evil}
	place := Place{File: "/home/job/" + evil, Line: 1}
	pairs := [][2]string{{evil, evil}}
	events := []Event{
		RunStarted{Name: "run", Crate: evil}, PhaseStarted{Phase: "build"}, Progress{Phase: "build", Text: evil},
		Progress{Phase: "build", Text: evil, Done: 1, Total: 2}, Tick{},
		PhaseEnded{Phase: "build", Text: evil, Took: time.Second}, Note{Topic: "tests", Text: evil}, Note{Text: evil},
		GroupStarted{Group: test.Group}, Session{Group: test.Group, Pytest: evil, Python: evil, Isolation: evil},
		Selected{Group: test.Group, Tests: 1},
		TestStarted{test}, Tick{}, TestSlow{Test: test, Text: evil},
		Stacks{Group: test.Group, What: evil, Why: evil, Text: evil}, Lent{Group: test.Group, Text: evil},
		Returned{Group: test.Group},
		TestEnded{Test: test, Outcome: verdict.Failed, Place: place, Message: evil, Text: evil, Sections: pairs,
			Properties: pairs,
			Subtests:   []SubtestEnd{{Name: evil, Outcome: verdict.Failed, Text: evil}}},
		Proof{test, evil}, FileFailed{Test: Test{test.Group, "file" + evil, evil}, Place: place, Text: evil},
		FileSkipped{Test: Test{test.Group, "skip" + evil, evil}, Place: place, Text: evil},
		ExitFailed{Group: test.Group, Text: evil}, Problem{Group: test.Group, Text: evil},
		Note{Group: test.Group, Text: evil}, GroupEnded{Group: test.Group}, RunEnded{Red: true, Cause: CauseCollection},
	}
	control := regexp.MustCompile(`[\x00-\x08\x0b-\x1f\x7f-\x{9f}\x{202e}]`)
	obeyed := regexp.MustCompile(`(?m)^\s*(::error::|--- (PASS|FAIL)|=== RUN)|##\[`)
	for _, quiet := range []bool{false, true} {
		var out bytes.Buffer
		screen := Screen{Out: &out, Quiet: quiet, Verbose: true, Title: evil, Failed: evil, GitHub: "/home/job",
			Colour: true, Again: func(id string) string { return id }}
		require.NoError(t, play(events, NewTerminal(screen)))
		tally, err := tallied(events)
		require.NoError(t, err)
		require.Equal(t, verdict.Failed, tally.Result().Outcomes[test.NodeID], "the name stays the test's own")
		text := out.String()
		for _, colour := range []ours{red, green, yellow, plain} {
			text = strings.ReplaceAll(text, string(colour), "")
		}
		require.NotRegexp(t, control, text)
		require.NotRegexp(t, obeyed, text)
		require.Contains(t, text, `\x1b]52;c;aGk=\a`)
		require.Equal(t, 1, strings.Count(text, ",title=FAIL a.py%3A%3At"), text)
	}

	var out bytes.Buffer
	require.NoError(t, play(events, NewTest2JSON(&out, "crate"+evil, func(id string) string { return id })))
	for decoder := json.NewDecoder(&out); decoder.More(); {
		var l line
		require.NoError(t, decoder.Decode(&l))
		for _, text := range []string{l.Package, l.Test, l.Key, l.Value, l.Output} {
			require.NotRegexp(t, control, text)
			require.NotContains(t, text, "##[")
			require.NotRegexp(t, `(?m)^\s*(::error::|=== RUN   forged|--- (PASS|FAIL): forged)`, text)
		}
	}

	junit := NewJUnit("run")
	require.NoError(t, play(events, junit))
	out.Reset()
	require.NoError(t, WriteJUnit(&out, junit.Suites()))
	cases, err := verdict.ReadJUnit(&out, 1<<20)
	require.NoError(t, err)
	require.Len(t, cases, 5)

	out.Reset()
	recorder, err := NewRecorder(&out, "1", nil)
	require.NoError(t, err)
	require.NoError(t, play(events, recorder))
	result, err := Replay(&out, nil)
	require.NoError(t, err)
	require.True(t, result.Red)
}

// TestLongTexts: a run of many tests that print much keeps little of each, on disk and in memory.
func TestLongTexts(t *testing.T) {
	var out bytes.Buffer
	recorder, err := NewRecorder(&out, "1", nil)
	require.NoError(t, err)
	junit := NewJUnit("run")
	var events []Event
	for i := range 500 {
		test := Test{Group: "g", Name: strings.Repeat("t", i+1), NodeID: "a::t"}
		events = append(events, TestStarted{test},
			TestEnded{Test: test, Outcome: verdict.Failed, Text: "first\n" + strings.Repeat("x", 1<<20)})
	}
	require.NoError(t, play(group(true, events...), recorder, junit))
	require.Less(t, out.Len(), 6<<20)
	out.Reset()
	require.NoError(t, WriteJUnit(&out, junit.Suites()))
	require.Less(t, out.Len(), 6<<20)
	require.Contains(t, out.String(), "bytes left out ...]")
}

// full is a disk that fills.
type full struct{ left int }

func (f *full) Write(data []byte) (int, error) {
	if f.left -= len(data); f.left < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(data), nil
}

// TestRecordings: a recording is what it was asked to be; one that is cut off, damaged or of another version is an error.
func TestRecordings(t *testing.T) {
	var out bytes.Buffer
	recorder, err := NewRecorder(&out, "9.9.9", map[string]int{"asked": 1})
	require.NoError(t, err)
	events := group(true, start("a::t"), end("a::t", verdict.Hung))
	require.NoError(t, play(events, recorder))
	require.NoError(t, recorder.Err())
	text := out.String()
	replay := func(text string) (Result, error) {
		var asked map[string]int
		result, err := Replay(strings.NewReader(text), &asked)
		if err == nil {
			require.Equal(t, map[string]int{"asked": 1}, asked)
		}
		return result, err
	}
	result, err := replay(text)
	require.NoError(t, err)
	require.True(t, result.Red)
	for at := range len(text) { // however a run is killed
		_, err := replay(text[:at])
		require.ErrorIs(t, err, ErrCutOff, text[:at])
	}
	lines := strings.SplitAfter(text, "\n")
	_, err = replay(lines[0] + strings.Join(lines[2:], ""))
	require.ErrorContains(t, err, "line 2 of the recording: the events of the run contradict each other")
	_, err = replay(text + lines[1])
	require.ErrorContains(t, err, "after the start of the run")
	_, err = replay(strings.Replace(text, `"1.1"`, `"2.0"`, 1))
	require.EqualError(t, err,
		"the recording has format 2.0, made by pyo3test 9.9.9, and this version reads 1.x: use that version")
	_, err = replay(strings.Replace(text, `"1.1"`, `"one"`, 1))
	require.ErrorContains(t, err, "not a recording of a run")
	_, err = replay(strings.Replace(text, `"hung"`, `7`, 1))
	require.ErrorContains(t, err, "line 5 of the recording: test-ended: ")
	newer := strings.Replace(text, `"1.1"`, `"1.7"`, 1)
	newer = strings.Replace(newer, lines[2],
		`{"at":"2026-11-27T00:00:00Z","kind":"of-tomorrow","event":{}}`+"\n"+lines[2], 1)
	_, err = replay(newer)
	require.NoError(t, err, "a newer minor version is read")
	jump := strings.Replace(text, "2026-11-27T00:00:05Z", "9026-11-27T00:00:05Z", 1)
	require.NotEqual(t, text, jump)
	_, err = replay(jump)
	require.NoError(t, err, "a clock that jumps does not hold a replay up")

	recorder, err = NewRecorder(&full{200}, "1", nil)
	require.NoError(t, err)
	require.NoError(t, play(events, recorder), "no verdict depends on the recording")
	require.ErrorContains(t, recorder.Err(), "no space left on device")
	_, err = NewRecorder(&full{}, "1", nil)
	require.ErrorContains(t, err, "no space left on device")
}
