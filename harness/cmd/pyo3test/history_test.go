package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/verdict"
)

// recorded is a run to record: what was asked for, and how its tests ended.
type recorded struct {
	asked
	outcomes map[string]verdict.Outcome
	beside   bool // it fails for more than its tests
	killed   bool // it does not end
}

// begin begins to record a run of a crate, and returns a function that emits what else it is.
func (r recorded) begin(t *testing.T) (end func()) {
	t.Helper()
	h, err := remember("crate")
	require.NoError(t, err)
	recording, err := h.record(r.asked)
	require.NoError(t, err)
	stream := report.NewStream(recording)
	emit := func(e report.Event) { require.NoError(t, stream.Emit(e)) }
	emit(report.RunStarted{Name: topName})
	return func() {
		t.Helper()
		emit(report.GroupStarted{Group: "g"})
		for id, outcome := range r.outcomes {
			test := report.Test{Group: "g", Name: id, NodeID: id}
			if outcome == verdict.Error && !strings.Contains(id, "::") {
				emit(report.FileFailed{Test: test})
				continue
			}
			emit(report.TestStarted{Test: test})
			emit(report.TestEnded{Test: test, Outcome: outcome})
		}
		emit(report.GroupEnded{Group: "g"})
		if r.beside {
			emit(report.Problem{Text: "red"})
		}
		require.NoError(t, stream.End())
		require.NoError(t, recording.Close())
	}
}

func (r recorded) record(t *testing.T) {
	t.Helper()
	if end := r.begin(t); !r.killed {
		end()
	}
}

func emptyCache(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
}

// TestHistory: what --failed runs after runs that ended in various ways, or did not end.
func TestHistory(t *testing.T) {
	passed := map[string]verdict.Outcome{"t/a.py::t": verdict.Passed, "t/b.py::t": verdict.Passed}
	green := recorded{outcomes: passed}
	red := recorded{outcomes: map[string]verdict.Outcome{"t/a.py::t": verdict.Failed, "t/b.py::t": verdict.Failed}}
	of := func(tests string, args ...string) asked { return asked{Tests: []string{tests}, PytestArgs: args} }
	one := func(id string, outcome verdict.Outcome) map[string]verdict.Outcome {
		return map[string]verdict.Outcome{id: outcome}
	}
	ids := func(ids ...string) map[string]bool {
		only := map[string]bool{}
		for _, id := range ids {
			only[id] = true
		}
		return only
	}
	failed := asked{Failed: true}
	for name, c := range map[string]struct {
		runs []recorded
		only map[string]bool // nil is all
	}{
		"green":                {[]recorded{green}, ids()},
		"red":                  {[]recorded{green, red}, ids("t/a.py::t", "t/b.py::t")},
		"killed":               {[]recorded{green, {killed: true}}, nil},
		"without tests":        {[]recorded{green, {beside: true}}, nil},
		"red beside its tests": {[]recorded{{outcomes: passed, beside: true}}, nil},
		"green once more":      {[]recorded{green, {beside: true}, {killed: true}, green}, ids()},
		"a part of it": {[]recorded{{killed: true},
			{asked: of("t/a.py"), outcomes: one("t/a.py::t", verdict.Passed)}}, nil},
		"its part again": {[]recorded{green, {asked: of("t/a.py", "-k", "t"), killed: true},
			{asked: of("t/a.py", "-k", "t"), outcomes: passed}}, ids()},
		"another part": {[]recorded{green, {asked: of("t/a.py"), killed: true},
			{asked: of("t/b.py"), outcomes: passed}}, nil},
		"a part, red before": {[]recorded{red,
			{asked: of("t/a.py"), outcomes: one("t/a.py::t", verdict.Passed)}}, ids("t/b.py::t")},
		"--failed, killed":   {[]recorded{red, {asked: failed, killed: true}}, ids("t/a.py::t", "t/b.py::t")},
		"--failed, no build": {[]recorded{red, {asked: failed, beside: true}}, nil},
		"--failed, green":    {[]recorded{red, {asked: failed, outcomes: passed}}, ids()},
		"all, after a kill":  {[]recorded{green, {killed: true}, {outcomes: passed}}, ids()},
		"no collection":      {[]recorded{{outcomes: one("t/a.py", verdict.Error)}}, ids("t/a.py")},
		"collected":          {[]recorded{{outcomes: one("t/a.py", verdict.Error)}, green}, ids()},
		"collected by its path": {[]recorded{{outcomes: one("t/a.py", verdict.Error)},
			{asked: of("t/a.py"), outcomes: passed}}, ids()},
		"a part of it collected": {[]recorded{{outcomes: one("t/a.py", verdict.Error)},
			{asked: of("t/a.py::t"), outcomes: passed}}, ids("t/a.py")},
		"a choice of it collected": {[]recorded{{outcomes: one("t/a.py", verdict.Error)},
			{asked: of("t/a.py", "-k", "t"), outcomes: passed}}, ids("t/a.py")},
		"a folder collected": {[]recorded{{outcomes: one("t", verdict.Error)},
			{asked: of("t"), outcomes: passed}}, ids()},
		"a file of it is collected": {[]recorded{{outcomes: one("t", verdict.Error)},
			{asked: of("t/a.py"), outcomes: passed}}, ids("t")},
	} {
		t.Run(name, func(t *testing.T) {
			emptyCache(t)
			for _, r := range c.runs {
				r.record(t)
			}
			h, err := remember("crate")
			require.NoError(t, err)
			only, why, err := h.notPassed()
			require.NoError(t, err)
			require.Equal(t, c.only, only)
			require.Equal(t, c.only == nil, why != "")
		})
	}
}

// TestHistoryOfRunsAtATime: what is known after two runs at a time is what both found, and that one of them was killed.
func TestHistoryOfRunsAtATime(t *testing.T) {
	emptyCache(t)
	one := func(id string, outcome verdict.Outcome) map[string]verdict.Outcome {
		return map[string]verdict.Outcome{id: outcome}
	}
	endA := recorded{asked: asked{Tests: []string{"a.py"}}, outcomes: one("a.py::t", verdict.Failed)}.begin(t)
	endB := recorded{asked: asked{Tests: []string{"b.py"}}, outcomes: one("b.py::t", verdict.Passed)}.begin(t)
	endA()
	endB()
	h, err := remember("crate")
	require.NoError(t, err)
	only, _, err := h.notPassed()
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"a.py::t": true}, only)

	endFirst := recorded{outcomes: one("a.py::t", verdict.Passed)}.begin(t)
	recorded{killed: true}.record(t)
	endFirst()
	h, err = remember("crate")
	require.NoError(t, err)
	_, why, err := h.notPassed()
	require.NoError(t, err)
	require.Equal(t, cutOff, why)

	endRed := recorded{beside: true}.begin(t)
	recorded{outcomes: one("a.py::t", verdict.Passed)}.record(t)
	endRed() // what it found is newer than the green run, which began later
	h, err = remember("crate")
	require.NoError(t, err)
	_, why, err = h.notPassed()
	require.NoError(t, err)
	require.Equal(t, whyUnsettled(""), why)
}

// TestOldRecordings: only some recordings are kept, and nothing that they tell is forgotten.
func TestOldRecordings(t *testing.T) {
	emptyCache(t)
	recorded{outcomes: map[string]verdict.Outcome{"old.py::t": verdict.Failed}}.record(t)
	for range 2 * mostRecordings {
		recorded{asked: asked{Tests: []string{"a.py"}},
			outcomes: map[string]verdict.Outcome{"a.py::t": verdict.Passed}}.record(t)
	}
	h, err := remember("crate")
	require.NoError(t, err)
	names, err := h.names()
	require.NoError(t, err)
	require.Len(t, names, mostRecordings)
	only, _, err := h.notPassed()
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"old.py::t": true}, only)
}

// TestOldRecordingsOfRunsAtATime: a recording is kept until a later one knows what it tells.
func TestOldRecordingsOfRunsAtATime(t *testing.T) {
	emptyCache(t)
	endA := recorded{asked: asked{Tests: []string{"a.py"}},
		outcomes: map[string]verdict.Outcome{"a.py::t": verdict.Passed}}.begin(t)
	recorded{asked: asked{Tests: []string{"b.py"}},
		outcomes: map[string]verdict.Outcome{"b.py::t": verdict.Failed}}.record(t)
	part := recorded{asked: asked{Tests: []string{"c.py"}},
		outcomes: map[string]verdict.Outcome{"c.py::t": verdict.Passed}}
	count := func() int {
		h, err := remember("crate")
		require.NoError(t, err)
		only, why, err := h.notPassed()
		require.NoError(t, err)
		require.True(t, only["b.py::t"] || why == cutOff, "b.py failed, and a.py may be cut off")
		return len(h.runs)
	}
	for range 2 * mostRecordings {
		part.record(t)
		count()
	}
	require.Equal(t, 2*mostRecordings+2, count(), "the first run is under way")
	endA()
	for range mostRecordings {
		part.record(t)
		count()
	}
	require.Equal(t, mostRecordings, count())
	h, err := remember("crate")
	require.NoError(t, err)
	only, why, err := h.notPassed()
	require.NoError(t, err)
	require.Empty(t, why, "the first run has ended")
	require.Equal(t, map[string]bool{"b.py::t": true}, only)
}

// TestEmptyRecording: a run that was killed before it wrote a line is one that was cut off.
func TestEmptyRecording(t *testing.T) {
	emptyCache(t)
	recorded{}.record(t)
	h, err := remember("crate")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(h.folder, "99990101T000000.000000000-1.jsonl"), nil, 0o600))
	h, err = remember("crate")
	require.NoError(t, err)
	_, why, err := h.notPassed()
	require.NoError(t, err)
	require.Equal(t, cutOff, why)
}

// TestUnreadableRecordings: a recording that is damaged or of another format is an error of --failed, never a green.
func TestUnreadableRecordings(t *testing.T) {
	for want, damage := range map[string]func(string) string{
		"this is not a recording of a run":       func(string) string { return "\x00\n" },
		"has format 2.0, made by pyo3test 9.9.9": func(string) string { return `{"recording":"2.0","pyo3test":"9.9.9"}` + "\n" },
		"line 3 of the recording: not an event": func(text string) string {
			return strings.Replace(text,
				`"group-started"`, `"group-star`, 1)
		},
		"contradict each other: test-ended of a.py::t,": func(text string) string {
			return strings.Replace(text,
				`"test-started"`, `"test-begun"`, 1)
		},
		"with red = false, which is true": func(text string) string {
			return strings.Replace(text, `"red":true`,
				`"red":false`, 1)
		},
	} {
		t.Run(want, func(t *testing.T) {
			emptyCache(t)
			recorded{outcomes: map[string]verdict.Outcome{"a.py::t": verdict.Failed}}.record(t)
			h, err := remember("crate")
			require.NoError(t, err)
			names, err := h.names()
			require.NoError(t, err)
			file := filepath.Join(h.folder, names[0])
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NotEqual(t, string(data), damage(string(data)))
			require.NoError(t, os.WriteFile(file, []byte(damage(string(data))), 0o644))
			h, err = remember("crate")
			require.NoError(t, err)
			_, _, err = h.notPassed()
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, names[0])
			recorded{outcomes: map[string]verdict.Outcome{"b.py::t": verdict.Passed}}.record(t) // a run is possible
			require.NoError(t, os.Remove(file))
			h, err = remember("crate")
			require.NoError(t, err)
			_, why, err := h.notPassed()
			require.NoError(t, err)
			require.Empty(t, why, "the run of all tests settled it")
		})
	}
}
