package repro

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/bundle"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/verdict"
)

func ended(outcome verdict.Outcome, signature string, line int) report.TestEnded {
	return report.TestEnded{Test: report.Test{NodeID: "t.py::t"}, Outcome: outcome, Failure: failure(outcome, signature, line), Place: report.Place{File: "/crate/t.py", Line: 1}}
}

func failure(outcome verdict.Outcome, signature string, line int) report.Failure {
	f := report.Failure{Signature: signature}
	if outcome == verdict.Hung {
		f.Hang, f.HangPlace = "gil-lock-cycle", report.Place{File: "/crate/src/lib.rs", Line: line}
	}
	return f
}

func TestResult(t *testing.T) {
	r := resultOf(bundle.Test{NodeID: "t.py::t", Outcome: "hung", Signature: "here"}, "/crate")
	require.Equal(t, "no runs: the rate is unknown", r.Sentence())
	at := time.Duration(0)
	count := func(times int, end report.TestEnded, failed bool) {
		for range times {
			at += time.Second
			require.Equal(t, failed, r.count(end, at))
		}
	}
	count(161, ended(verdict.Passed, "", 0), false)
	count(1, ended(verdict.Skipped, "", 0), false)
	count(1, ended(verdict.NotRun, "", 0), false)
	count(8, ended(verdict.Hung, "there", 9), true)
	count(23, ended(verdict.Hung, "here", 3), true)
	count(8, ended(verdict.Failed, "else", 0), false)
	require.Equal(t, 31, r.Failed)
	require.Equal(t, 164*time.Second, r.First)
	require.Equal(t, `31 of 200 hung: 15.5 % (95 %: 11.1 to 21.2 %)
23 of 39 failures in the same place: hung: cycle of the GIL and a lock, src/lib.rs:3
8 of 39 failures in another place: hung: cycle of the GIL and a lock, src/lib.rs:9
8 of 39 failures in another place: failed, t.py:1
not counted: 2 runs that skipped the test, or gave it no verdict
the first after 2m44s, 3m22s in all`, r.Text())
}

// TestOneRun: a single run has no rate.
func TestOneRun(t *testing.T) {
	for want, end := range map[string]report.TestEnded{
		"it passed": ended(verdict.Passed, "", 0),
		"no runs: the rate is unknown\nnot counted: 1 run that skipped the test, or gave it no verdict": ended(verdict.Skipped, "", 0),
		"again, in a place that could not be seen: hung: cycle of the GIL and a lock, src/lib.rs:3":     ended(verdict.Hung, "", 3),
		"it failed in another way: crashed, t.py:1":                                                     ended(verdict.Crashed, "else", 0),
		"again, in the same place: hung: cycle of the GIL and a lock, src/lib.rs:3":                     ended(verdict.Hung, "here", 3),
		"again, in another place: hung: cycle of the GIL and a lock, src/other.rs:4":                    other(),
	} {
		r := resultOf(bundle.Test{Outcome: "hung", Signature: "here"}, "/crate")
		r.count(end, time.Second)
		require.Equal(t, want, r.Text())
	}
}

func other() report.TestEnded {
	end := ended(verdict.Hung, "there", 4)
	end.HangPlace.File = "/crate/src/other.rs"
	return end
}

func TestLimits(t *testing.T) {
	most := Limits{Memory: 2 << 30, Processes: 2048, Time: time.Hour}
	run := func(change func(*bundle.Run)) error {
		r := bundle.Run{Memory: 1 << 30, Processes: 100, TestTimeout: time.Minute}
		change(&r)
		return checkLimits(&bundle.Bundle{Manifest: bundle.Manifest{Run: r}}, most)
	}
	require.NoError(t, run(func(*bundle.Run) {}))
	for said, change := range map[string]func(*bundle.Run){
		"asks for 3072 MiB of memory, and may have 2048: run it with --limits": func(r *bundle.Run) { r.Memory = 3 << 30 },
		"asks for 5000 processes, and may have 2048":                           func(r *bundle.Run) { r.Processes = 5000 },
		"asks for a budget of 2h0m0s, and may have 1h0m0s":                     func(r *bundle.Run) { r.TestTimeout = 2 * time.Hour },
		"asks for a budget of 3h0m0s, and may have 1h0m0s":                     func(r *bundle.Run) { r.ExitTimeout = 3 * time.Hour },
	} {
		require.ErrorContains(t, run(change), said)
	}
}

// TestPinned: nothing but a name and a version is installed, which an index has: no file, no address and no option.
func TestPinned(t *testing.T) {
	names, err := pinned([]string{"pytest==9.2.0", "numpy==2.1.0"})
	require.NoError(t, err)
	require.Equal(t, []string{"pytest==9.2.0", "numpy==2.1.0"}, names)
	for _, wrong := range []string{"a @ https://example.com/a.whl", "a", "--index-url==https://example.com", "a==1 ; x", "-r/etc/passwd==1",
		"a==1\n--index-url https://example.com", "../a==1", "git+https://example.com/a==1"} {
		_, err := pinned([]string{"pytest==9.2.0", wrong})
		require.ErrorContains(t, err, "did not come from a package index", wrong)
	}
}

// resultOf returns the result of no run of a test.
func resultOf(test bundle.Test, crate string) Result {
	r := newResult(&Prepared{bundle: &bundle.Bundle{Manifest: bundle.Manifest{Test: test}}})
	r.crate = crate
	return r
}
