package console

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/subtest"
)

// TestBeside: a run that is red for more than the tests with a node id says so.
func TestBeside(t *testing.T) {
	test := func(id, outcome string, red bool) func(subtest.T) {
		return func(t subtest.T) {
			subtest.Begin(t, "t").End(func(t subtest.T) {
				if id != "" {
					t.Attr(subtest.NodeID, id)
				}
				t.Attr(subtest.Outcome, outcome)
				if red {
					t.Fail()
				}
			})
		}
	}
	ended := func(t subtest.T) {
		test("a.py::t", "not run", true)(t)
		t.Attr(subtest.Told, "true")
		t.Fail()
	}
	for name, c := range map[string]struct {
		group  func(subtest.T)
		beside bool
	}{
		"green":                      {test("a.py::t", "passed", false), false},
		"a test":                     {test("a.py::t", "failed", true), false},
		"a file":                     {test("a.py", "error", true), false},
		"the end of the interpreter": {test("", "error", true), true},
		"a test that says it passed": {test("a.py::t", "passed", true), true},
		"the group":                  {func(t subtest.T) { t.Fail() }, true},
		"the group, at once":         {func(t subtest.T) { t.FailNow() }, true},
		"a group that was ended":     {ended, false},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			result := NewEvents(&out, "crate", Options{Again: again}).Run("run", func(t subtest.T) { t.Run("group", c.group) })
			require.Equal(t, c.beside, result.Beside)
			require.NotContains(t, result.Outcomes, "")
		})
	}
	var out bytes.Buffer
	result := NewEvents(&out, "crate", Options{Again: again}).Run("run", func(t subtest.T) { t.FailNow() })
	require.True(t, result.Beside)
}
