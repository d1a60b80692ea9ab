// Package helper_test runs the helper script as its users do: on this machine, with its own Rust and Python.
package helper_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/agent"
)

// needTools skips a test where the script's tools are not here, unless PYO3TEST_ALL_TESTS says that all are.
func needTools(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"bash", "cargo", "python3"} {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("PYO3TEST_ALL_TESTS") == "" {
			t.Skip("the script takes ", tool)
		}
	}
}

func TestHelperScript(t *testing.T) {
	needTools(t)
	script, err := filepath.Abs("test-python.sh")
	require.NoError(t, err)
	crate := filepath.Join(t.TempDir(), "a crate")
	require.NoError(t, os.CopyFS(crate, os.DirFS("../../../../pytests/legacy")))
	cache := t.TempDir()
	run := func(folder string, args ...string) (string, error) {
		c := exec.Command(script, args...)
		c.Dir = folder
		c.Env = append(os.Environ(), "XDG_CACHE_HOME="+cache)
		output, err := c.CombinedOutput()
		return string(output), err
	}
	edit := func(name, from, to string) {
		t.Helper()
		file := filepath.Join(crate, name)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(text), from)
		require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), from, to, 1)), 0o644))
	}
	// Sources may lie in a folder of that name; what cargo makes is not copied.
	require.NoError(t, os.MkdirAll(filepath.Join(crate, "src/target"), 0o755))
	require.NoError(t, os.Rename(filepath.Join(crate, "src/python.rs"), filepath.Join(crate, "src/target/python.rs")))
	edit("src/lib.rs", "mod python;", "#[path = \"target/python.rs\"]\nmod python;")
	const building, unchanged = "test-python: building ", "test-python: unchanged"

	before := listing(t, crate)
	output, err := run(crate)
	require.NoError(t, err, output)
	require.Contains(t, output, building)
	require.Contains(t, output, "plugins: forked-")
	require.Contains(t, output, "20 passed")
	require.Equal(t, before, listing(t, crate), "nothing of the user's changes")

	output, err = run(filepath.Join(crate, "tests"), "-k", "registry", "-q")
	require.NoError(t, err, output)
	require.Contains(t, output, unchanged)
	require.Contains(t, output, "7 passed, 13 deselected")

	edit("tests/python/test_package.py", "import ", `def test_new() -> None:
    pass


import `)
	require.NoError(t, os.Remove(filepath.Join(crate, "tests/python/test_gil.py")))
	output, err = run(crate)
	require.NoError(t, err, output)
	require.Contains(t, output, unchanged, "Python is not built")
	require.Contains(t, output, "17 passed", "one more, four fewer")

	// What uv has locked is what is installed.
	lock := `version = 1

[[package]]
name = "legacy-ext"
source = { editable = "." }

[[package]]
name = "pluggy"
version = "1.5.0"
source = { registry = "https://pypi.org/simple" }
`
	require.NoError(t, os.WriteFile(filepath.Join(crate, "uv.lock"), []byte(lock), 0o644))
	output, err = run(crate, "-vv")
	require.NoError(t, err, output)
	require.Contains(t, output, "pluggy-1.5.0")

	// A lock that the build has to fix, in the copy, is no change of the user's.
	edit("Cargo.lock", "name = \"once_cell\"", "name = \"once_cell_of_long_ago\"")
	output, err = run(crate)
	require.NoError(t, err, output)
	require.Contains(t, output, building)
	output, err = run(crate)
	require.NoError(t, err, output)
	require.Contains(t, output, unchanged)

	edit("src/lib.rs", "\nuse ", "\ncompile_error!(\"not today\");\nuse ")
	for range 2 { // not green by what was built before
		output, err = run(crate)
		require.Error(t, err)
		require.Contains(t, output, "not today")
		require.NotContains(t, output, "passed")
	}
	edit("src/lib.rs", "compile_error!(\"not today\");\n", "")
	output, err = run(crate)
	require.NoError(t, err, output)
	require.Contains(t, output, building)

	edit("tests/python/test_package.py", "def test_new() -> None:\n    pass", "def test_new() -> None:\n    assert 0")
	output, err = run(crate)
	require.Equal(t, 1, err.(*exec.ExitError).ExitCode(), output)
	output, err = run(t.TempDir())
	require.Equal(t, 2, err.(*exec.ExitError).ExitCode(), output)
	require.Contains(t, output, "no pyproject.toml in ")
	t.Setenv("PYO3_PYTHON", "/no/such/python")
	output, err = run(crate)
	require.Equal(t, 2, err.(*exec.ExitError).ExitCode(), output)
	require.Contains(t, output, "PYO3_PYTHON=/no/such/python is no Python 3.11 or later")
}

// TestHelperScriptWithThePlugin: if the plugin is beside the script, as `pyo3test init --script` puts it, it runs the
// tests: with the newest pytest, where warnings are errors, and with a fresh interpreter each.
func TestHelperScriptWithThePlugin(t *testing.T) {
	needTools(t)
	crate := filepath.Join(t.TempDir(), "crate")
	require.NoError(t, os.CopyFS(crate, os.DirFS("../../../../pytests/modern")))
	folder := filepath.Join(crate, "scripts")
	require.NoError(t, os.Mkdir(folder, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "pyo3test_plugin.zip"), agent.PluginZip(), 0o644))
	script := filepath.Join(folder, "test-python.sh")
	text, err := os.ReadFile("test-python.sh")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(script, text, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(crate, "tests/test_more.py"), []byte(`import os

HERE = os.getpid()

def test_here():
    assert os.getpid() == HERE

def test_dies():
    os._exit(3)
`), 0o644))
	cache := t.TempDir()
	run := func(args ...string) string {
		c := exec.Command(script, append([]string{"-q", "-W", "error"}, args...)...)
		c.Dir = crate
		c.Env = append(os.Environ(), "XDG_CACHE_HOME="+cache)
		output, err := c.CombinedOutput()
		require.Equal(t, 1, err.(*exec.ExitError).ExitCode(), string(output))
		return string(output)
	}
	output := run()
	require.Contains(t, output, "2 failed, 88 passed, 1 skipped, 2 xfailed, 8 subtests passed")
	require.Contains(t, output, "its process exited with status 3 during call, before the test ended")
	require.Contains(t, run("--forked-subprocess", "tests/test_more.py"), "1 failed, 1 passed")
}

// listing is every file of a folder with its content.
func listing(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		found[path] = string(data)
		return err
	}))
	return found
}
