package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
)

// scripted is a run of one group: two files whose tests overlap, and several kinds of ends.
func scripted(t subtest.T) {
	screen := t.(subtest.Screen)
	screen.Phase("engine", "engine found", time.Second)
	t.Run("group", func(t subtest.T) {
		t.Attr(subtest.Files, "2")
		t.Attr(subtest.Tests, "5")
		begin := func(id string) *subtest.Open { return subtest.Begin(t, strings.ReplaceAll(id, "::", "/")) }
		end := func(open *subtest.Open, id, outcome, text string) {
			open.End(func(t subtest.T) {
				t.Attr(subtest.NodeID, id)
				t.Attr(subtest.Outcome, outcome)
				if id == "a.py::t2" {
					t.Attr(subtest.Left, "1")
				}
				fmt.Fprint(t.Output(), text)
				switch outcome {
				case "passed":
				case "skipped":
					t.SkipNow()
				default:
					t.Fail()
				}
			})
		}
		a1, b1 := begin("a.py::t1"), begin("b.py::t1")
		end(a1, "a.py::t1", "passed", "")
		end(b1, "b.py::t1", "crashed", "b.py:1: crashed in call\ncrashed: SIGSEGV (11) during call\n")
		a2 := begin("a.py::t2")
		end(a2, "a.py::t2", "passed", "")
		b2 := begin("b.py::t2")
		end(b2, "b.py::t2", "skipped", "skipped: not today\n")
		b3 := begin("b.py::t3")
		t.(subtest.Screen).Slow("b.py::t3", 5*time.Second, "pid 7, sleeps")
		end(b3, "b.py::t3", "hung", "hung: no end within 1s\n")
		t.Attr(subtest.Phases, "start 0.1  tests 2.0")
		t.Attr(subtest.Summary, "5 of 5 tests")
		fmt.Fprintln(t.Output(), "5 of 5 tests")
	})
}

func again(id string) string { return "again " + id }

var seconds = regexp.MustCompile(`\[ *[\d.]+s\]`)

func TestScreen(t *testing.T) {
	for quiet, want := range map[bool]string{
		false: `      Engine [   0.000s] engine found
    Starting 5 tests in 2 files
     SIGSEGV [   0.000s] (2/5) b.py::t1
    b.py:1: crashed in call
    crashed: SIGSEGV (11) during call
        SKIP [   0.000s] (4/5) b.py::t2
    skipped: not today
        SLOW [>  5.000s]       b.py::t3   pid 7, sleeps
        HUNG [   0.000s] (5/5) b.py::t3
    hung: no end within 1s
        PASS [   0.000s] (5/5) a.py (2 tests)
     Summary [   0.000s] 5 tests: 2 passed, 1 hung, 1 crashed, 1 skipped, 1 of them leaky, 1 of them slow
    Duration engine 1.0  start 0.1  tests 2.0
        HUNG b.py::t3
     SIGSEGV b.py::t1
       again run it --failed
`,
		true: `     SIGSEGV [   0.000s] (2/5) b.py::t1
    b.py:1: crashed in call
    crashed: SIGSEGV (11) during call
        HUNG [   0.000s] (5/5) b.py::t3
    hung: no end within 1s
    5 of 5 tests
          Engine [   0.000s] engine found
     Summary [   0.000s] 5 tests: 2 passed, 1 hung, 1 crashed, 1 skipped, 1 of them leaky, 1 of them slow
        HUNG b.py::t3
     SIGSEGV b.py::t1
       again run it --failed
`,
	} {
		var out bytes.Buffer
		c, done := NewScreen(Screen{Out: &out, Quiet: quiet, Failed: "run it --failed"}, Options{Again: again})
		result := c.Run("run", scripted)
		done()
		require.Equal(t, Result{Failed: true, Counts: map[string]int{"passed": 2, "crashed": 1, "skipped": 1, "hung": 1}, Outcomes: map[string]verdict.Outcome{
			"a.py::t1": verdict.Passed, "a.py::t2": verdict.Passed, "b.py::t1": verdict.Crashed, "b.py::t2": verdict.Skipped, "b.py::t3": verdict.Hung,
		}}, result)
		require.Equal(t, want, seconds.ReplaceAllString(out.String(), "[   0.000s]"))
	}
}

// TestGitHub: what is red is an annotation there, at its line.
func TestGitHub(t *testing.T) {
	var out bytes.Buffer
	c, done := NewScreen(Screen{Out: &out, GitHub: "/home/job"}, Options{Again: again})
	c.Run("run", func(t subtest.T) {
		t.Run("group", func(t subtest.T) {
			for id, text := range map[string]string{"a,b.py::t": "/home/job/crate/a,b.py:3: failed in call\n100 %\n", "c.py::t": "/elsewhere/c.py:3: failed"} {
				subtest.Begin(t, id).End(func(t subtest.T) {
					t.Attr(subtest.NodeID, id)
					t.Attr(subtest.Outcome, "failed")
					fmt.Fprint(t.Output(), text)
					t.Fail()
				})
			}
		})
	})
	done()
	require.Contains(t, out.String(), "\n::error file=crate/a%2Cb.py,line=3,title=FAIL a%2Cb.py%3A%3At::/home/job/crate/a,b.py:3: failed in call%0A100 %25\n")
	require.Contains(t, out.String(), "\n::error title=FAIL c.py%3A%3At::/elsewhere/c.py:3: failed\n")
}

// TestScreenThatStandsStill: after a silence it says what runs.
func TestScreenThatStandsStill(t *testing.T) {
	var out bytes.Buffer
	c, done := NewScreen(Screen{Out: &out}, Options{Again: again})
	defer done()
	c.Run("run", func(t subtest.T) {
		t.Run("group", func(t subtest.T) {
			open := subtest.Begin(t, "a.py/t1")
			c.tell(func(r reporter) {
				s := r.(*screen)
				s.beat()
				s.spoke = time.Now().Add(-time.Minute)
				s.beat()
			})
			open.End(func(subtest.T) {})
		})
	})
	require.Equal(t, 1, strings.Count(seconds.ReplaceAllString(out.String(), "[   0.000s]"), "     running [   0.000s] a.py/t1\n"), out.String())
}

func TestEvents(t *testing.T) {
	var out bytes.Buffer
	command := ""
	result := NewEvents(&out, "crate", Options{Again: again}).Run("run", func(t subtest.T) {
		scripted(t)
		t.Attr(subtest.Cause, subtest.CauseBuild)
		command = t.(subtest.Again).Again("x")
		t.FailNow()
	})
	require.Equal(t, "again x", command)
	require.True(t, result.Failed)
	require.Equal(t, subtest.CauseBuild, result.Cause)
	ends := map[string]string{}
	for decoder := json.NewDecoder(&out); decoder.More(); {
		var e event
		require.NoError(t, decoder.Decode(&e))
		require.Equal(t, "crate", e.Package)
		if e.Elapsed != nil {
			require.NotContains(t, ends, e.Test, "one end each")
			ends[e.Test] = e.Action
		}
	}
	require.Equal(t, map[string]string{
		"": "fail", "run": "fail", "run/group": "fail", "run/group/a.py/t1": "pass", "run/group/a.py/t2": "pass",
		"run/group/b.py/t1": "fail", "run/group/b.py/t2": "skip", "run/group/b.py/t3": "fail",
	}, ends)
}

// TestHostileText: nothing that comes from a test is obeyed by who reads a reporter's output.
func TestHostileText(t *testing.T) {
	const evil = "\x1b]52;c;aGk=\a\n::error::forged\n\t ##[error]forged\r\n\x16--- PASS: forged (0.00s)\n--- FAIL: forged (0.00s)\n=== RUN   forged\n1\r2\b\u009b\u202e\xff\n"
	hostile := func(t subtest.T) {
		screen := t.(subtest.Screen)
		screen.Phase("build", evil, time.Second)
		fmt.Fprint(t.Output(), evil)
		t.Run("group"+evil, func(t subtest.T) {
			t.Attr(subtest.Tests, "1")
			t.Attr(evil, evil)
			fmt.Fprint(t.Output(), evil)
			open := subtest.Begin(t, "a.py/t"+evil)
			t.(subtest.Screen).Slow("a.py::t"+evil, time.Second, evil)
			open.End(func(t subtest.T) {
				t.Attr(subtest.NodeID, "a.py::t"+evil)
				t.Attr(subtest.Outcome, "failed")
				fmt.Fprint(t.Output(), "/home/job/"+evil+evil)
				t.Fail()
			})
			t.Attr(subtest.Phases, evil)
			t.Attr(subtest.Summary, evil)
		})
	}
	control := regexp.MustCompile(`[\x00-\x08\x0b-\x1f\x7f-\x{9f}\x{202e}]`)
	obeyed := regexp.MustCompile(`(?m)^\s*(::error::|--- (PASS|FAIL)|=== RUN)|##\[`)
	for _, quiet := range []bool{false, true} {
		var out bytes.Buffer
		c, done := NewScreen(Screen{Out: &out, Quiet: quiet, Title: evil, Failed: evil, GitHub: "/home/job", Colour: true}, Options{Again: again})
		require.Equal(t, map[string]verdict.Outcome{"a.py::t" + evil: verdict.Failed}, c.Run("run", hostile).Outcomes, "the name stays the test's own")
		done()
		text := out.String()
		for _, colour := range []ours{red, green, yellow, plain} {
			text = strings.ReplaceAll(text, string(colour), "")
		}
		require.NotRegexp(t, control, text)
		require.NotRegexp(t, obeyed, text)
		require.Contains(t, text, `\x1b]52;c;aGk=\a`)
		require.Equal(t, 1, strings.Count(text, "\n::error title=FAIL a.py%3A%3At"), text)
	}

	var out bytes.Buffer
	NewEvents(&out, "crate"+evil, Options{Again: again}).Run("run", hostile)
	for decoder := json.NewDecoder(&out); decoder.More(); {
		var e event
		require.NoError(t, decoder.Decode(&e))
		for _, text := range []string{e.Package, e.Test, e.Key, e.Value, e.Output} {
			require.NotRegexp(t, control, text)
			require.NotContains(t, text, "##[")
			require.NotRegexp(t, `(?m)^\s*(::error::|=== RUN   forged|--- (PASS|FAIL): forged)`, text)
		}
	}
}
