package harness_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/internal/selftest"
)

// TestFullBundle: a full bundle needs nothing but an engine. On one that has no image, of a command without a network, its test
// fails in the same place, and its sources are built once more.
func TestFullBundle(t *testing.T) {
	p := startPrivateEngine(t)
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": failing})
	file := bundles(t, harness.Suite{Crate: crate, Groups: []harness.Group{
		{Name: "hangs", Tests: []string{"tests/test_tiny.py::test_hangs"}},
	}})["tests/test_tiny.py::test_hangs"]
	pyo3test := filepath.Join(t.TempDir(), "pyo3test")
	output, err := exec.Command("go", "build", "-o", pyo3test, "./cmd/pyo3test").CombinedOutput()
	require.NoError(t, err, string(output))
	full := filepath.Join(t.TempDir(), "full.pyo3test")
	output, err = exec.Command(pyo3test, "repro", "--full", full, file).CombinedOutput()
	require.NoError(t, err, string(output))
	require.Regexp(t, `Kept \S+full\.pyo3test \(\d+ MiB\)\n$`, string(output))

	elsewhere := append(os.Environ(), "DOCKER_HOST="+p.host(), "XDG_CACHE_HOME="+t.TempDir(), "HOME="+t.TempDir())
	repro := func(args ...string) (result struct{ Runs, Failed int }, said string) {
		c := exec.Command("unshare", append([]string{"--net", pyo3test, "repro", "--json"}, args...)...)
		c.Env = elsewhere
		var stderr strings.Builder
		c.Stderr = &stderr
		output, _ := c.Output() // its status is 1
		require.NoError(t, json.Unmarshal(output, &result), stderr.String())
		return result, stderr.String()
	}
	result, said := repro(full)
	require.Equal(t, 1, result.Failed, said)
	require.Contains(t, said, "again, in the same place")
	require.NotContains(t, said, "Differs")
	result, said = repro("--pressure=crate", "-n", "1", full)
	require.Equal(t, 1, result.Failed, said)

	// What is not as its manifest says is not loaded.
	data, err := os.ReadFile(full)
	require.NoError(t, err)
	data[len(data)/2] ^= 1 // in the layer, which is nearly all of the file
	require.NoError(t, os.WriteFile(full, data, 0o644))
	c := exec.Command(pyo3test, "clean")
	c.Env = elsewhere
	output, err = c.CombinedOutput()
	require.NoError(t, err, string(output))
	c = exec.Command("unshare", "--net", pyo3test, "repro", full)
	c.Env = elsewhere
	output, err = c.CombinedOutput()
	require.Error(t, err)
	require.Regexp(t, `load the bundle's image: import \S+: .*its entry "images/blobs/sha256/\w+" is (not what the manifest says|damaged)`, string(output))
}
