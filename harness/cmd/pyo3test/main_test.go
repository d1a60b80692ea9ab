package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness/internal/prereq"
	"pyo3test/harness/internal/report"
	"pyo3test/harness/internal/subtest"
)

// call runs a command line in this process.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = command(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// writeFiles writes files below a folder, over those that are there.
func writeFiles(folder string, files map[string]string) error {
	for name, text := range files {
		file := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// modern copies the crate to a folder with a space and a non-ASCII letter in its name. It is always in the same place,
// so that it is built only once, and no run of it is remembered.
func modern(t *testing.T, files map[string]string) string {
	t.Helper()
	crate := filepath.Join(prereq.Place(t, "command"), "mein Prüfling")
	last, err := remember(crate)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(last.folder))
	require.NoError(t, os.CopyFS(crate, os.DirFS("../../../pytests/modern")))
	require.NoError(t, writeFiles(crate, files))
	return crate
}

const mixed = `import os, threading, pytest

def test_passes():
    pass

def test_passes_too():
    pass

def test_hangs():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def test_fails():
    print("so far")
    assert 1 == 2

def test_reads_nothing():
    import ctypes
    ctypes.string_at(0)

def test_exits():
    os._exit(3)

@pytest.mark.skip(reason="not today")
def test_skipped():
    pass

@pytest.fixture
def broken():
    raise RuntimeError("a broken fixture")

def test_error(broken):
    pass
`

// hostile is a test whose output is meant for the terminal, the CI system and the reader of go test's output.
const hostile = `
@pytest.mark.parametrize("x", ["##[error]x"])
def test_hostile(x):
    print("\x1b]52;c;aGk=\x07\n::error::forged\n  ##[error]forged\n\x16--- PASS: TestPython (0.00s)\n--- PASS: TestForged (0.00s)\n50 %\r100 %\x9b1m\u202e")
    assert 0, "\x1b[31m"
`

// built builds the program and returns its path.
func built(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "pyo3test")
	output, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(output))
	return binary
}

// replayed returns the screen that the last recording of a crate's runs gives.
func replayed(t *testing.T, crate string, screen report.Screen) string {
	t.Helper()
	h, err := remember(crate)
	require.NoError(t, err)
	names, err := h.names()
	require.NoError(t, err)
	recording, err := os.Open(filepath.Join(h.folder, names[len(names)-1]))
	require.NoError(t, err)
	defer recording.Close()
	var out bytes.Buffer
	screen.Out, screen.Failed = &out, "pyo3test run --failed "+subtest.ShellQuote(crate)
	screen.Again = func(nodeID string) string {
		return "pyo3test run " + subtest.ShellQuote(crate) + " -- " + subtest.ShellQuote(nodeID)
	}
	_, err = report.Replay(recording, nil, report.NewTerminal(screen))
	require.NoError(t, err)
	return out.String()
}

// TestScreens: what users see of a run is what its recording shows, whatever happens in it. The golden files of package
// report hold how that looks.
func TestScreens(t *testing.T) {
	prereq.Engine(t)
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	crate := modern(t, map[string]string{"tests/test_mixed.py": mixed,
		"tests/test_no_module.py": "import no_such_module\n"})
	code, out, errs := call(t, "list", crate+"/tests/test_buffers.py") // when a long build is shown depends on the clock
	require.Equal(t, exitPassed, code, out+errs)
	title := report.Screen{Title: "    pyo3test " + report.Version + "  " + crate}
	shows := func(code int, screen report.Screen, want []string, args ...string) {
		t.Helper()
		got, out, errs := call(t, append([]string{"run"}, args...)...)
		require.Empty(t, errs)
		require.Equal(t, code, got, out)
		require.Equal(t, replayed(t, crate, screen), out)
		for _, line := range want {
			require.Contains(t, out, line)
		}
	}
	shows(exitPassed, title,
		[]string{"    Starting 11 tests in 1 file\n", "] (11/11) tests/test_buffers.py (11 tests)\n",
			"] 11 of 11 tests: 11 passed\n"},
		crate+"/tests/test_buffers.py", "--workers", "1")
	shows(exitFailed, title, []string{
		"] 19 of 19 tests: 13 passed, 1 hung, 2 crashed, 1 failed, 1 error, 1 skipped\n",
		`
        HUNG tests/test_mixed.py::test_hangs  Python lock that no thread releases, tests/test_mixed.py:12
` +
			"     SIGSEGV tests/test_mixed.py::test_reads_nothing  in call, tests/test_mixed.py:18\n" +
			"     CRASHED tests/test_mixed.py::test_exits  in call, tests/test_mixed.py:22\n" +
			"        FAIL tests/test_mixed.py::test_fails  assert 1 == 2, tests/test_mixed.py:16\n" +
			"       ERROR tests/test_mixed.py::test_error  RuntimeError: a broken fixture, tests/test_mixed.py:31\n",
	}, "--workers=1", crate, "--", "tests/test_mixed.py", "tests/test_buffers.py")
	shows(exitPassed, report.Screen{Quiet: true}, []string{"     Summary ["}, "--quiet", crate+"/tests/test_buffers.py")
	shows(exitCollection, title,
		[]string{"E   ModuleNotFoundError: No module named 'no_such_module'",
			"] 1 of 1 tests: 1 passed, 1 collection error\n"},
		crate, "--", "tests/test_no_module.py", "tests/test_mixed.py::test_passes")

	require.NoError(t, os.WriteFile(filepath.Join(crate, "src", "lib.rs"),
		[]byte("fn unfinished() -> i32 {\n    let n: i32 = \"one\";\n"), 0o644))
	want := []string{"\n    error: this file contains an unclosed delimiter\n     --> " + crate + "/src/lib.rs:2:25\n",
		"] no test was run: the build failed\n"}
	shows(exitBuild, title, want, crate)
	title.Verbose = true
	want = []string{"] building with maturin\n", "]    Compiling pyo3test-modern",
		"] error: this file contains an unclosed delimiter\n", "\n    (its output is above)\n",
		"] no test was run: the build failed\n"}
	shows(exitBuild, title, want, "-v", crate)
}

// TestEvents: --json has the format of go test -json, and gotestsum reads it.
func TestEvents(t *testing.T) {
	prereq.Engine(t)
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	crate := modern(t, map[string]string{"tests/test_mixed.py": mixed + hostile})
	t.Setenv("PYO3TEST_JUNIT", "") // --junit sets it for the whole process: restore it for the tests after this one
	junit := filepath.Join(t.TempDir(), "junit.xml")
	code, out, errs := call(t, "run", "--json", "--junit", junit, crate+"/tests/test_mixed.py")
	require.Empty(t, errs)
	require.Equal(t, exitFailed, code, out)
	last := map[string]string{}
	for line := range strings.Lines(out) {
		var e struct{ Action, Package, Test string }
		decoder := json.NewDecoder(strings.NewReader(line))
		require.NoError(t, decoder.Decode(&e), line)
		require.Equal(t, "mein Prüfling", e.Package)
		if e.Action == "pass" || e.Action == "fail" || e.Action == "skip" {
			last[e.Test] = e.Action
		}
	}
	const group = "pyo3test/pyo3test-modern"
	require.Equal(t, map[string]string{
		"": "fail", "pyo3test": "fail", group: "fail",
		group + "/tests/test_mixed.py/test_passes": "pass", group + "/tests/test_mixed.py/test_passes_too": "pass",
		group + "/tests/test_mixed.py/test_hangs": "fail",
		group + "/tests/test_mixed.py/test_fails": "fail", group + "/tests/test_mixed.py/test_exits": "fail",
		group + "/tests/test_mixed.py/test_reads_nothing": "fail", group + "/tests/test_mixed.py/test_skipped": "skip",
		group + "/tests/test_mixed.py/test_error":                 "fail",
		group + "/tests/test_mixed.py/test_hostile[##\\[error]x]": "fail",
	}, last)
	require.NotRegexp(t, `(?i)\\u00(1b|16|07|9b)|\\[bfr]|[\x{80}-\x{9f}\x{202e}]`, strings.ReplaceAll(out, `\\`, ""))
	require.Contains(t, out, `\\x1b]52;c;aGk=\\a`)
	require.Contains(t, out, `\\--- PASS: TestForged`)
	written, err := os.ReadFile(junit)
	require.NoError(t, err)
	require.Contains(t, string(written), `name="test_hangs"`)

	const gotestsum = "gotest.tools/gotestsum@v1.13.0"
	if output, err := exec.Command("go", "run", gotestsum, "--version").CombinedOutput(); err != nil {
		prereq.Skip(t, "gotestsum cannot be had here: ", string(output))
	}
	events := filepath.Join(t.TempDir(), "events.json")
	require.NoError(t, os.WriteFile(events, []byte(out), 0o644))
	read, err := exec.Command("go", "run", gotestsum, "--raw-command", "--format=testname", "--", "cat",
		events).CombinedOutput()
	require.NoError(t, err, string(read)) // cat does not fail
	require.Contains(t, string(read), "DONE 11 tests, 1 skipped, 8 failures")
}

// TestErrorsAreVisible: a file name cannot control the terminal that shows it.
func TestErrorsAreVisible(t *testing.T) {
	code, out, errs := call(t, "run", "/no/such\x1b]52;c;aGk=\a")
	require.Equal(t, exitUsage, code)
	require.Empty(t, out)
	require.Contains(t, errs, `/no/such\x1b]52;c;aGk=\a: no such file or directory`)
	require.NotContains(t, errs, "\x1b")
}

// TestFind: a path names a crate, or which of its tests to run.
func TestFind(t *testing.T) {
	crate, err := filepath.EvalSymlinks(modern(t, nil))
	require.NoError(t, err)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(crate, link))
	elsewhere := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, "test_a.py"), nil, 0o644))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(crate, "linked")))
	for path, want := range map[string][]string{
		link + "/linked/test_a.py": {"linked/test_a.py"}, crate + "/linked": {"linked"},
		crate: nil, link: nil, crate + "/tests": {"tests"},
		link + "/tests/test_buffers.py::test_x[a::b]": {"tests/test_buffers.py::test_x[a::b]"},
	} {
		found, tests, err := find(path)
		require.NoError(t, err)
		require.Equal(t, crate, found)
		require.Equal(t, want, tests, path)
	}
}

// TestInterrupt: Ctrl-C ends a run in order and sets the exit code; --failed knows what did not run.
func TestInterrupt(t *testing.T) {
	prereq.Engine(t)
	crate := modern(t, map[string]string{"tests/test_slow.py": `import time

def test_slow():
    print('begun', flush=True)
    time.sleep(1000)
`})
	c := exec.Command(built(t), "run", crate+"/tests/test_slow.py")
	c.Env = append(os.Environ(), "PYO3TEST_ARTIFACTS="+t.TempDir())
	var out, errs bytes.Buffer
	c.Stderr = &errs
	stdout, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	for seen, buffer := "", make([]byte, 4096); ; {
		n, err := stdout.Read(buffer)
		out.Write(buffer[:n])
		if seen += string(buffer[:n]); strings.Contains(seen, "up to 1m0s a test") {
			time.Sleep(2 * time.Second) // for the test to begin
			require.NoError(t, c.Process.Signal(syscall.SIGINT))
			seen = ""
		}
		if err != nil {
			break
		}
	}
	_ = c.Wait()
	require.Equal(t, exitSignal+int(syscall.SIGINT), c.ProcessState.ExitCode(), out.String())
	require.Empty(t, errs.String())
	require.Regexp(t, `(?s)test_slow, running for .*: interrupted by a signal.*time\.sleep.*NOT RUN`, out.String())
	require.Contains(t, out.String(), "NOT RUN tests/test_slow.py::test_slow")

	// --failed knows what did not run, and also that a run was killed.
	require.NoError(t, os.WriteFile(filepath.Join(crate, "tests/test_slow.py"), []byte("def test_slow():\n    pass\n"),
		0o644))
	code, screen, failedErrs := call(t, "run", "--quiet", "--failed", crate)
	require.Equal(t, exitPassed, code, screen+failedErrs)
	require.Contains(t, screen, "1 of 92 tests: 1 passed")
	require.NotContains(t, failedErrs, "without a verdict")
	killed := exec.Command(c.Path, "run", crate+"/tests/test_slow.py")
	stdout, err = killed.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, killed.Start())
	_, err = stdout.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, killed.Process.Kill())
	_ = killed.Wait()
	code, screen, failedErrs = call(t, "run", "--quiet", "--failed", crate+"/tests/test_slow.py")
	require.Equal(t, exitPassed, code, screen+failedErrs)
	require.Contains(t, failedErrs, "left tests without a verdict (it was cut off)")
}
