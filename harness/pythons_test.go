package harness_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// TestEachPython: a Suite, or else its project, names one version of Python or several.
func TestEachPython(t *testing.T) {
	for name, c := range map[string]struct {
		own   []string
		toml  string
		wants [][]string // the Python of each Suite
	}{
		"none":        {nil, "", [][]string{nil}},
		"one":         {[]string{"3.13"}, `python = ["3.11", "3.14"]`, [][]string{{"3.13"}}},
		"a word":      {nil, `python = "3.13"`, [][]string{nil}},
		"several":     {[]string{"3.11", "3.14"}, "", [][]string{{"3.11"}, {"3.14"}}},
		"of the TOML": {nil, `python = ["3.11", "3.14"]`, [][]string{{"3.11"}, {"3.14"}}},
		"twice":       {nil, `python = ["3.14", "3.14"]`, [][]string{nil}},
		"no version":  {[]string{"3.14", "new"}, "", [][]string{{"3.14", "new"}}},
	} {
		t.Run(name, func(t *testing.T) {
			crate := t.TempDir()
			text := selftest.Tiny["pyproject.toml"] + "[tool.pyo3test]\n" + c.toml + "\n"
			selftest.Edit(t, crate, map[string]string{"Cargo.toml": selftest.Tiny["Cargo.toml"], "pyproject.toml": text})
			var found [][]string
			for _, suite := range (harness.Suite{Crate: crate, Python: c.own, OutputFolder: "out"}).EachPython() {
				found = append(found, suite.Python)
				if len(c.wants) > 1 {
					require.Equal(t, "out/"+suite.Python[0], filepath.ToSlash(suite.OutputFolder))
				}
			}
			require.Equal(t, c.wants, found)
		})
	}
}

// TestPythons: each version has a subtest, and one that cannot be had costs the others nothing.
func TestPythons(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{
		"pyproject.toml": selftest.Tiny["pyproject.toml"] + "[tool.pyo3test]\npython = [\"3.9\", \"3.11\"]\n",
	})
	r := harnesstest.Record(t, harness.Suite{Crate: crate})
	require.Equal(t, harnesstest.Failed, r.Outcome())
	require.Len(t, r.Subs(), 2)
	require.Equal(t, harnesstest.Failed, r.Sub("3.9").Outcome())
	require.Contains(t, r.Sub("3.9").Text(), "get a base image with Python 3.9")
	require.Equal(t, harnesstest.Passed, r.Sub("3.11").Outcome(), r.Sub("3.11").Text())
	require.NotNil(t, r.Sub("3.11").Sub("tiny").Sub("tests/test_tiny.py/test_answer"))
}
