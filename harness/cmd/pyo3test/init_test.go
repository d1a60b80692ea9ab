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

// TestInit: with what init writes into a crate, both go test and the command run its tests.
func TestInit(t *testing.T) {
	prereq.Engine(t)
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	here, err := filepath.Abs("../../..")
	require.NoError(t, err)
	crate := repository(t, "module example.com/crate\n\ngo 1.26\n\nrequire pyo3test v0.0.0\n\nreplace pyo3test => "+here+"\n")
	code, out, errs := call(t, "init", "--all", crate)
	require.Equal(t, exitPassed, code, errs)
	require.Contains(t, out, "+addopts = --forked -ra\n")
	require.Contains(t, out, "nothing was written: add --yes")
	require.NoFileExists(t, filepath.Join(crate, "python_test.go"))

	code, out, errs = call(t, "init", "--all", "--yes", crate)
	require.Equal(t, exitPassed, code, errs)
	require.GreaterOrEqual(t, strings.Count(out, "wrote "+crate), 5, out)
	require.NotContains(t, out, "note:")
	code, out, errs = call(t, "init", "--all", "--yes", crate)
	require.Equal(t, exitPassed, code, errs)
	require.Contains(t, out, "nothing to write")

	code, out, errs = call(t, "run", crate)
	require.Equal(t, exitPassed, code, out+errs)
	require.Contains(t, out, "1 of 1 tests: 1 passed")
	tidy := exec.Command("go", "mod", "tidy")
	tidy.Dir = crate
	output, err := tidy.CombinedOutput()
	require.NoError(t, err, string(output))
	test := exec.Command("go", "test", "-v", "-count=1", ".")
	test.Dir = crate
	output, err = test.CombinedOutput()
	require.NoError(t, err, string(output))
	require.Contains(t, string(output), "--- PASS: TestPython/patient/tests/test_one.py/test_one")

	// The conftest hides no failed import: its own import makes the run red.
	conftest := filepath.Join(crate, "tests/conftest.py")
	text, err := os.ReadFile(conftest)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(conftest, []byte(strings.Replace(string(text), "import patient ", "import not_built ", 1)), 0o644))
	code, out, _ = call(t, "run", crate)
	require.NotEqual(t, exitPassed, code)
	require.Contains(t, out, "No module named 'not_built'")
}

// TestInitParts: each part can be written alone, in the place and form that fit the project.
func TestInitParts(t *testing.T) {
	crate := repository(t, "")
	written := func(args ...string) string {
		t.Helper()
		code, out, errs := call(t, append([]string{"init", "--yes", crate}, args...)...)
		require.Equal(t, exitPassed, code, errs)
		return out
	}
	require.Contains(t, written("--conftest"), "wrote "+filepath.Join(crate, "tests/conftest.py"))
	require.NoFileExists(t, filepath.Join(crate, "python_test.go"))
	out := written("--go", filepath.Join(crate, "internal", "my-py"))
	require.Contains(t, out, "belongs to no Go module")
	text, err := os.ReadFile(filepath.Join(crate, "internal", "my-py", "python_test.go"))
	require.NoError(t, err)
	require.Contains(t, string(text), "package mypy\n")
	require.Contains(t, string(text), `Crate: "../.."`)
	require.NoError(t, os.WriteFile(filepath.Join(crate, "go.mod"), []byte("module x\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(crate, "a.go"), []byte("package named\n"), 0o644))
	out = written()
	require.Contains(t, out, "go.mod does not name pyo3test")
	text, err = os.ReadFile(filepath.Join(crate, "python_test.go"))
	require.NoError(t, err)
	require.Contains(t, string(text), "package named\n")
	require.NoError(t, os.WriteFile(filepath.Join(crate, "tests/conftest.py"), []byte("# mine\n"), 0o644))
	out = written("--conftest")
	require.Contains(t, out, "tests/conftest.py is there, and is left as it is; this would be written:\n\n\"\"\"")
	require.Contains(t, out, "nothing to write")
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
			require.Equal(t, gomod == "", strings.Contains(out, "wrote "+filepath.Join(crate, "scripts/test-python.sh")))
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NotContains(t, string(text), "<no value>")
			output, err := exec.Command("go", "run", actionlint, file).CombinedOutput()
			require.NoError(t, err, string(output))
		})
	}
}
