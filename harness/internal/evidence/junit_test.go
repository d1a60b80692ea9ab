package evidence

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/subtest"
	"pyo3test/harness/internal/verdict"
)

// named is a test that has a name and nothing else.
type named struct {
	subtest.T
	name string
}

func (n named) Name() string { return n.name }

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
	exit, pass := 0, verdict.Test{Started: true, Reports: []verdict.Report{{When: "call", Outcome: "passed"}}}
	pass.Finish = &verdict.Finish{Exit: &exit, Complete: true}
	has := func(cases, red int) {
		t.Helper()
		foundCases, foundRed := counts(t, file)
		require.Equal(t, []int{cases, red}, []int{foundCases, foundRed})
	}
	green := func(test string) *Run {
		r := New(named{name: test}, subtest.Flags{})
		r.Begin()
		_, red := counts(t, filepath.Join(folder, "artifacts", "evidence-"+test, "junit.xml"))
		require.Equal(t, 1, red)
		r.Add(verdict.Suite{Name: test + "/g", Tests: []verdict.Test{pass}})
		return r
	}
	first := green("TestA")
	has(1, 1)
	require.Empty(t, first.Finish(false))
	has(1, 0)

	second := green("TestB")
	has(2, 1) // the first is still there
	second.MustBeRed()
	require.Contains(t, second.Finish(true), "JUnit, ")
	has(3, 1)

	first.Begin()
	has(4, 2)
	first.Fault("(build)", "no")
	first.MustBeRed() // it is
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
	r := New(named{name: "TestA"}, subtest.Flags{})
	r.Begin()
	r.Fault("(build)", "no")
	require.Empty(t, r.Finish(true))
	require.NoDirExists(t, r.folder)
	r.Add(verdict.Suite{Name: "TestA/g"})
	require.Contains(t, r.Finish(true), r.folder)
	require.FileExists(t, filepath.Join(r.folder, "junit.xml"))
}
