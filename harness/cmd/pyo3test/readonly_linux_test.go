package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pyo3test/harness/internal/prereq"

	"github.com/stretchr/testify/require"
)

// TestReadOnly: a read-only project runs like any other, and commands that would write into it report why they cannot.
func TestReadOnly(t *testing.T) {
	prereq.Engine(t)
	if os.Getuid() != 0 {
		prereq.Skip(t, "a mount takes root")
	}
	crate, binary, artifacts := modern(t, nil), built(t), t.TempDir()
	require.NoError(t, os.Remove(filepath.Join(crate, "modern_test.go")))
	call := func(args ...string) (string, int) {
		const mounted = `mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && ! touch "$0/written" 2>/dev/null && cd "$0" && exec "$@"`
		c := exec.Command("unshare", append([]string{"--mount", "sh", "-c", mounted, crate, binary}, args...)...)
		c.Env = append(os.Environ(), "PYO3TEST_ARTIFACTS="+artifacts)
		output, _ := c.CombinedOutput()
		return string(output), c.ProcessState.ExitCode()
	}
	out, code := call("run", "--quiet", "tests/test_buffers.py")
	require.Equal(t, exitPassed, code, out)
	require.Contains(t, out, "11 passed")
	out, code = call("init", "--all", "--yes")
	require.Equal(t, exitUsage, code, out)
	require.Contains(t, out, "python_test.go: read-only file system")
	require.NoFileExists(t, filepath.Join(crate, "python_test.go"))
}
