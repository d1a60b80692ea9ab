package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/prereq"
)

// TestFailedAfterARunWithoutVerdicts: --failed runs all tests as long as an earlier run left some without a verdict.
func TestFailedAfterARunWithoutVerdicts(t *testing.T) {
	prereq.Engine(t)
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	crate := modern(t, nil)
	require.NoError(t, os.RemoveAll(filepath.Join(crate, "tests")))
	require.NoError(t, os.MkdirAll(filepath.Join(crate, "tests", "sub"), 0o755))
	library, err := os.ReadFile(filepath.Join(crate, "src/lib.rs"))
	require.NoError(t, err)
	write := func(name, text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(crate, name), []byte(text), 0o644))
	}
	runs := func(code int, want string, args ...string) {
		t.Helper()
		got, out, errs := call(t, append([]string{"run", "--quiet"}, args...)...)
		require.Equal(t, code, got, out+errs)
		require.Contains(t, out+errs, want)
	}
	write("tests/test_a.py", "def test_a():\n    pass\n")
	write("tests/sub/test_b.py", "def test_b():\n    pass\n")
	const none, whole = "all tests of ", "left tests without a verdict ("
	settled := func() {
		t.Helper()
		runs(exitPassed, "2 of 2 tests: 2 passed", "--failed", crate)
		runs(exitPassed, none, "--failed", crate)
	}
	runs(exitPassed, "2 passed", crate)
	runs(exitPassed, none, "--failed", crate)

	write("src/lib.rs", "fn f( {}\n")
	runs(exitBuild, "the build failed", crate)
	runs(exitBuild, whole+"the build failed)", "--failed", crate)
	write("src/lib.rs", string(library))
	runs(exitPassed, "1 of 1 tests: 1 passed", crate+"/tests/test_a.py") // not all
	settled()

	write("conftest.py", "raise RuntimeError\n")
	runs(exitFailed, "a conftest.py that cannot be loaded", crate)
	runs(exitFailed, whole, "--failed", crate)
	write("conftest.py", "import pytest\n\n@pytest.hookimpl(trylast=True)\ndef pytest_sessionfinish(session):\n    session.exitstatus = 1\n")
	runs(exitFailed, "no test failed, and pytest's exit status is 1", crate)
	runs(exitFailed, whole+"it was red for more than its tests)", "--failed", crate)
	write("conftest.py", "")
	settled()

	write("tests/sub/conftest.py", "raise RuntimeError\n")
	runs(exitCollection, "1 collection error", crate)
	write("tests/sub/conftest.py", "")
	runs(exitPassed, "1 of 1 tests: 1 passed", crate, "--", "-k", "test_a") // test_b is still to run
	runs(exitPassed, "1 of 2 tests: 1 passed", "--failed", crate)
	runs(exitPassed, none, "--failed", crate)

	t.Setenv("DOCKER_HOST", "unix:///no/such/socket")
	runs(exitSetup, "/no/such/socket", crate)
	runs(exitSetup, whole+"the engine, an image or the network failed)", "--failed", crate)
}
