package harness_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/internal/selftest"
	"pyo3test/pytests/commandtest"
)

// TestFullBundle: a full bundle needs nothing but an engine. On one that has no image, of a machine without a network, its test
// fails in the same place, and its sources are built once more.
func TestFullBundle(t *testing.T) {
	needsSecondEngine(t)
	elsewhere := commandtest.Elsewhere(t)
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": failing})
	file := bundles(t, harness.Suite{Crate: crate, Groups: []harness.Group{
		{Name: "hangs", Tests: []string{"tests/test_tiny.py::test_hangs"}},
	}})["tests/test_tiny.py::test_hangs"]
	pyo3test := commandtest.Build(t)
	full := filepath.Join(t.TempDir(), "full.pyo3test")
	output, err := exec.Command(pyo3test, "repro", "--full", full, file).CombinedOutput()
	require.NoError(t, err, string(output))
	require.Regexp(t, `Kept \S+full\.pyo3test \(\d+ MiB\)\n$`, string(output))

	repro := func(args ...string) (result struct{ Runs, Failed int }, said string) {
		said = commandtest.Repro(t, elsewhere(pyo3test, append([]string{"repro", "--json"}, args...)...), &result)
		return result, said
	}
	result, said := repro(full)
	require.Equal(t, 1, result.Failed, said)
	require.Contains(t, said, "again, in the same place")
	require.NotContains(t, said, "Differs")
	result, said = repro("--pressure=crate", "-n", "1", full)
	require.Equal(t, 1, result.Failed, said)

	output, err = elsewhere(pyo3test, "repro", "--full", full+".again", full).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(output), "the bundle has its image already")

	// What is not as its manifest says is not loaded.
	data, err := os.ReadFile(full)
	require.NoError(t, err)
	data[len(data)/2] ^= 1 // in the layer, which is nearly all of the file
	require.NoError(t, os.WriteFile(full, data, 0o644))
	output, err = elsewhere(pyo3test, "clean").CombinedOutput()
	require.NoError(t, err, string(output))
	output, err = elsewhere(pyo3test, "repro", full).CombinedOutput()
	require.Error(t, err)
	require.Regexp(t, `load the bundle's image: import \S+: .*the image in the bundle: `, string(output))
}
