package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/console"
	"pyo3test/harness/internal/verdict"
)

// TestMemory: what --failed runs after runs that ended in various ways, or did not end.
func TestMemory(t *testing.T) {
	type run struct {
		scope
		outcomes map[string]verdict.Outcome
		beside   bool
		killed   bool
		failed   bool // --failed
	}
	passed := map[string]verdict.Outcome{"t/a.py::t": verdict.Passed, "t/b.py::t": verdict.Passed}
	green := run{outcomes: passed}
	red := run{outcomes: map[string]verdict.Outcome{"t/a.py::t": verdict.Failed, "t/b.py::t": verdict.NotRun}}
	of := func(tests string, args ...string) scope { return scope{[]string{tests}, args} }
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
	for name, c := range map[string]struct {
		runs []run
		only map[string]bool // nil is all
	}{
		"green":                     {[]run{green}, ids()},
		"red":                       {[]run{green, red}, ids("t/a.py::t", "t/b.py::t")},
		"killed":                    {[]run{green, {killed: true}}, nil},
		"without tests":             {[]run{green, {beside: true}}, nil},
		"red beside its tests":      {[]run{{outcomes: passed, beside: true}}, nil},
		"green once more":           {[]run{green, {beside: true}, {killed: true}, green}, ids()},
		"a part of it":              {[]run{{killed: true}, {scope: of("t/a.py"), outcomes: one("t/a.py::t", verdict.Passed)}}, nil},
		"its part again":            {[]run{green, {scope: of("t/a.py", "-k", "t"), killed: true}, {scope: of("t/a.py", "-k", "t"), outcomes: passed}}, ids()},
		"another part":              {[]run{green, {scope: of("t/a.py"), killed: true}, {scope: of("t/b.py"), outcomes: passed}}, nil},
		"a part, red before":        {[]run{red, {scope: of("t/a.py"), outcomes: one("t/a.py::t", verdict.Passed)}}, ids("t/b.py::t")},
		"--failed, killed":          {[]run{red, {failed: true, killed: true}}, ids("t/a.py::t", "t/b.py::t")},
		"--failed, no build":        {[]run{red, {failed: true, beside: true}}, nil},
		"--failed, green":           {[]run{red, {failed: true, outcomes: passed}}, ids()},
		"--failed after a kill":     {[]run{green, {killed: true}, {failed: true, outcomes: passed}}, ids()},
		"no collection":             {[]run{{outcomes: one("t/a.py", verdict.Error)}}, ids("t/a.py")},
		"collected":                 {[]run{{outcomes: one("t/a.py", verdict.Error)}, green}, ids()},
		"collected by its path":     {[]run{{outcomes: one("t/a.py", verdict.Error)}, {scope: of("t/a.py"), outcomes: passed}}, ids()},
		"a part of it collected":    {[]run{{outcomes: one("t/a.py", verdict.Error)}, {scope: of("t/a.py::t"), outcomes: passed}}, ids("t/a.py")},
		"a choice of it collected":  {[]run{{outcomes: one("t/a.py", verdict.Error)}, {scope: of("t/a.py", "-k", "t"), outcomes: passed}}, ids("t/a.py")},
		"a folder collected":        {[]run{{outcomes: one("t", verdict.Error)}, {scope: of("t"), outcomes: passed}}, ids()},
		"a file of it is collected": {[]run{{outcomes: one("t", verdict.Error)}, {scope: of("t/a.py"), outcomes: passed}}, ids("t")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			t.Setenv("HOME", t.TempDir())
			for _, r := range c.runs {
				m, err := remember("crate", r.scope)
				require.NoError(t, err)
				all := true
				if r.failed {
					only, _, err := m.notPassed()
					require.NoError(t, err)
					all = only == nil
				}
				if all {
					require.NoError(t, m.begin())
				}
				if !r.killed {
					require.NoError(t, m.end(console.Result{Outcomes: r.outcomes, Beside: r.beside}, all))
				}
			}
			m, err := remember("crate", scope{})
			require.NoError(t, err)
			only, why, err := m.notPassed()
			require.NoError(t, err)
			require.Equal(t, c.only, only)
			require.Equal(t, c.only == nil, why != "")
		})
	}
}

// TestMemoryOfRunsAtATime: a run keeps the outcomes of concurrent runs, and does not hide that one of them was killed.
func TestMemoryOfRunsAtATime(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	begun := func(asked scope) *memory {
		m, err := remember("crate", asked)
		require.NoError(t, err)
		require.NoError(t, m.begin())
		return m
	}
	ends := func(m *memory, id string, outcome verdict.Outcome) {
		require.NoError(t, m.end(console.Result{Outcomes: map[string]verdict.Outcome{id: outcome}}, true))
	}
	a, b := begun(scope{Tests: []string{"a.py"}}), begun(scope{Tests: []string{"b.py"}})
	ends(a, "a.py::t", verdict.Failed)
	ends(b, "b.py::t", verdict.Passed)
	m, err := remember("crate", scope{})
	require.NoError(t, err)
	only, _, err := m.notPassed()
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"a.py::t": true}, only)

	first := begun(scope{})
	begun(scope{}) // and is killed
	ends(first, "a.py::t", verdict.Passed)
	m, err = remember("crate", scope{})
	require.NoError(t, err)
	_, why, err := m.notPassed()
	require.NoError(t, err)
	require.Equal(t, cutOff, why)
}
