package projects_test

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// TestNewPython is a sample of TestToolchains: a real project on another Python, with the newest Rust.
func TestNewPython(t *testing.T) {
	h := selftest.ThisHost(t)
	p := realProjects[slices.IndexFunc(realProjects, func(p realProject) bool { return p.Name == "rtoml" })]
	suite := p.suite
	suite.Crate, suite.Python, suite.Env = h.Fetch(t, p.Sdist), []string{"3.14"}, maps.Clone(lessOptimised)
	sameAsPlain(t, h, suite)
}

// sameAsPlain runs a suite, compares it with pytest by hand, and returns how many tests there are.
func sameAsPlain(t *testing.T, h selftest.Host, suite harness.Suite) int {
	t.Helper()
	junit := filepath.Join(t.TempDir(), "junit.xml")
	t.Setenv("PYO3TEST_JUNIT", junit)
	r := harnesstest.Record(t, suite)
	ours := selftest.ReadJUnit(t, junit)
	require.Greater(t, len(ours), 30, r.Text())
	tree, built := selftest.Prepared(t, suite)
	require.Empty(t, differences(h.ByHand(t, built, tree, suite.Tests...), ours), "pytest by hand (+) and here (-)")
	return len(ours)
}
