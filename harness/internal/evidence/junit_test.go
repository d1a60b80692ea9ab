package evidence

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/verdict"
)

// counts are the attributes of the suites of a JUnit file.
func counts(t *testing.T, file string) (cases, red int) {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	all, err := verdict.ReadJUnit(f, 1<<20)
	require.NoError(t, err)
	for _, c := range all {
		if c.State == verdict.Red {
			red++
		}
	}
	return len(all), red
}

// TestJUnit: the file is red from the begin of a run until a green end, and holds each run of the process.
func TestJUnit(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "all.xml")
	t.Setenv(ArtifactsVariable, filepath.Join(folder, "artifacts"))
	t.Setenv(JUnitVariable, file)
	pass := report.TestEnded{Test: report.Test{Group: "g", Name: "a.py/t", NodeID: "a.py::t"}, Outcome: verdict.Passed}
	emit := func(r *Run, events ...report.Event) {
		t.Helper()
		for _, e := range events {
			require.NoError(t, r.junit.Report(time.Time{}, e, nil))
		}
	}
	has := func(cases, red int) {
		t.Helper()
		foundCases, foundRed := counts(t, file)
		require.Equal(t, []int{cases, red}, []int{foundCases, foundRed})
	}
	green := func(test string) *Run {
		r := New(test, "", report.NewJUnit(test))
		r.Begin()
		_, red := counts(t, filepath.Join(folder, "artifacts", "evidence-"+test, "junit.xml"))
		require.Equal(t, 1, red)
		emit(r, report.GroupStarted{Group: "g"}, pass)
		return r
	}
	first := green("TestA")
	has(1, 1)
	require.Empty(t, first.Finish(false))
	has(1, 0)

	second := green("TestB")
	has(2, 1) // the first is still there
	emit(second, report.Problem{Text: "red"})
	require.Contains(t, second.Finish(true), "JUnit, ")
	has(3, 1)

	first.Begin() // in place of what it had
	has(3, 2)
	emit(first, report.Problem{Cause: report.CauseBuild, Text: "no"})
	first.Finish(true)
	has(4, 2)

	require.NoError(t, Refused("TestA", errors.New("no crate")))
	has(3, 2)
}

// TestOnlyRunsWithGroupsStayInTheCache: twenty builds that fail must not take the place of what a hang has left.
func TestOnlyRunsWithGroupsStayInTheCache(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv(ArtifactsVariable, "")
	t.Setenv(JUnitVariable, "")
	r := New("TestA", "", report.NewJUnit("TestA"))
	r.Begin()
	require.NoError(t, r.junit.Report(time.Time{}, report.Problem{Cause: report.CauseBuild, Text: "no"}, nil))
	require.Empty(t, r.Finish(true))
	require.NoDirExists(t, r.folder)
	require.NoError(t, r.junit.Report(time.Time{}, report.GroupStarted{Group: "g"}, nil))
	require.Contains(t, r.Finish(true), r.folder)
	require.FileExists(t, filepath.Join(r.folder, "junit.xml"))
}
