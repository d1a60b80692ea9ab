package harness

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRunAgain checks that the commands below a failure work where people type them, in the module's folder, and name
// the package and the crate.
func TestRunAgain(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	words := filepath.Join(root, "rust/fast words")
	require.NoError(t, os.MkdirAll(words, 0o755))
	const test, id = "TestPython/words/tests/test_a.py/test_b", "tests/test_a.py::test_b"
	const pattern = `'^TestPython$/^words$/^tests$/^test_a\.py$/^test_b$'`

	t.Chdir(words)
	require.Equal(t, "again: go test -run "+pattern+"\n       pyo3test run '"+words+"' -- "+id+"\n",
		runAgain(words)(test, id), "no module")

	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), []byte("module m\n"), 0o644))
	require.Equal(t, "again: go test './rust/fast words' -run "+pattern+"\n"+
		"       pyo3test run './rust/fast words' -- "+id+"\n", runAgain(words)(test, id))
	require.Contains(t, runAgain("/elsewhere/words")(test, id), "\n       pyo3test run /elsewhere/words -- ")

	t.Chdir(root)
	require.Contains(t, runAgain(words)(test, id), "again: go test . -run ")
}
