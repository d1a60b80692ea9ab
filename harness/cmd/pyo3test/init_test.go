package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pyo3test/harness/internal/prereq"

	"github.com/stretchr/testify/require"
)

// repository creates a crate without our files, in a repository and, if gomod is not empty, in a Go module.
func repository(t *testing.T, gomod string) (crate string) {
	t.Helper()
	crate = patient(t, map[string]string{"pytest.ini": "[pytest]\naddopts = -ra\n"})
	require.NoError(t, os.Mkdir(filepath.Join(crate, ".git"), 0o755))
	if gomod != "" {
		require.NoError(t, os.WriteFile(filepath.Join(crate, "go.mod"), []byte(gomod), 0o644))
	}
	return crate
}

// TestWorkflow: actionlint finds no fault in the workflows.
func TestWorkflow(t *testing.T) {
	const actionlint = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
	if output, err := exec.Command("go", "run", actionlint, "-version").CombinedOutput(); err != nil {
		prereq.Skip(t, "actionlint cannot be had here: ", string(output))
	}
	for name, gomod := range map[string]string{"Go": "module x\n", "script": ""} {
		t.Run(name, func(t *testing.T) {
			crate := repository(t, gomod)
			code, out, errs := call(t, "init", "--ci", "github", "--yes", crate)
			require.Equal(t, exitPassed, code, errs)
			file := filepath.Join(crate, ".github/workflows/python-tests.yml")
			require.Contains(t, out, "wrote "+file)
			require.Equal(t, gomod == "",
				strings.Contains(out, "wrote "+filepath.Join(crate, "scripts/test-python.sh")))
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NotContains(t, string(text), "<no value>")
			output, err := exec.Command("go", "run", actionlint, file).CombinedOutput()
			require.NoError(t, err, string(output))
		})
	}
}
