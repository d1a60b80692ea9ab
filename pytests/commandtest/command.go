// Package commandtest runs the pyo3test command in tests: here, and as if on another machine.
package commandtest

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Build builds the command, and returns its path.
func Build(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pyo3test")
	output, err := exec.Command("go", "build", "-o", file, "pyo3test/harness/cmd/pyo3test").CombinedOutput()
	require.NoError(t, err, string(output))
	return file
}

// Repro runs a command that is to print what `pyo3test repro --json` prints, decodes that, and returns what was said beside it.
func Repro(t *testing.T, c *exec.Cmd, result any) (said string) {
	t.Helper()
	var stderr strings.Builder
	c.Stderr = &stderr
	output, _ := c.Output() // its status says whether the test failed
	require.NoError(t, json.Unmarshal(output, result), stderr.String())
	return stderr.String()
}
