package harness_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// TestNothingIsRedForNothing checks that plugins that rerun tests or fake the file system, and a test and a conftest
// that change what the plugin itself uses, end as in plain pytest.
func TestNothingIsRedForNothing(t *testing.T) {
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	crate := selftest.WriteCrate(t, map[string]string{
		"conftest.py": "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n",
		"tests/test_tiny.py": `import os, pytest

RUNS = []

@pytest.mark.flaky(reruns=2)
def test_passes_the_second_time():
    RUNS.append(1)
    assert len(RUNS) == 2

def test_fake_files(fs):
    fs.create_file("/a")
    assert not os.path.exists(__file__)

def test_patch(monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)

`})
	r := harnesstest.Record(t,
		harness.Suite{Crate: crate, Requirements: []string{"pytest-rerunfailures==16.7", "pyfakefs==6.3.2"}})
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
	require.Len(t, r.Subs()[0].Subs(), 3)
}

// TestUsageErrors checks that an option or setting of a missing plugin is red, and that the project to require is
// named.
func TestUsageErrors(t *testing.T) {
	for addopts, want := range map[string]string{
		"addopts = --benchmark-disable": "a usage error: install pytest-benchmark " +
			"(for --benchmark-disable)",

		"addopts = --timeout=30": "a usage error: install pytest-timeout (for --timeout=30)",
		"addopts = --asyncio-mode=auto --reruns 2": "a usage error: install pytest-asyncio (for " +
			"--asyncio-mode=auto), pytest-rerunfailures (for --reruns)",

		"addopts = -p no_such_plugin":       "a usage error: install no-such-plugin (for -p no_such_plugin",
		"required_plugins = pytest-mock>=3": "a usage error: install pytest-mock>=3 (in required_plugins)",
		"addopts = --strict-config\nasyncio_mode = auto": "a usage error: install pytest-asyncio (for " +
			"the setting asyncio_mode)",

		"addopts = --no-such-option": "a usage error: an argument, or a setting of the project, that " +
			"this pytest does not know",
	} {
		t.Run(addopts, func(t *testing.T) {
			crate := selftest.WriteCrate(t, map[string]string{"pytest.ini": "[pytest]\n" + addopts + "\n"})
			_, text := recordRed(t, harness.Suite{Crate: crate})
			require.Contains(t, text, want)
		})
	}
}

// TestUsageErrorsOfAnOwnPytest checks that a project's own pytest comes without the plugins of the default environment.
func TestUsageErrorsOfAnOwnPytest(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"pytest.ini": "[pytest]\naddopts = -n 2 --cov=tests\n"})
	_, text := recordRed(t, harness.Suite{Crate: crate, Requirements: []string{"pytest==9.1.1"}})
	require.NotContains(t, text, "pytest-xdist", "-n needs no plugin")
	require.Contains(t, text, "pytest-cov (for --cov=tests)")
}

// TestMalice checks that what a test does to its siblings, its folder and its file system costs only itself and what it
// hit.
func TestMalice(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import os, subprocess, sys, time
import pytest

def test_victim():
    time.sleep(1000)

def test_kills_its_siblings():
    time.sleep(1)
    # The victim last: in its place another test begins, in a process that may be on the list.
    for pid in map(int, reversed(open(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read().split())):
        pid == os.getpid() or os.kill(pid, 9)

def test_goes_away(tmp_path):
    os.chdir(tmp_path)
    os.rmdir(tmp_path)

def test_is_where_it_was():
    assert os.path.exists("tests/test_tiny.py")

def test_fills_the_folder_for_temporary_files():
    with open("/dev/shm/full", "wb", 0) as file:
        while file.write(b"x" * 4096) == 4096:
            pass

def test_prints_on_a_full_disk():
    print("x" * 100_000)

def test_says_nothing_on_a_full_disk():
    pass

def test_leaves_a_daemon():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
`})
	group, text := recordRed(t, harness.Suite{Crate: crate, Workers: 2, Env: map[string]string{"TMPDIR": "/dev/shm"}})
	found := outcomes(group)
	require.Len(t, found, 8)
	const at = "tests/test_tiny.py::test_"
	require.Equal(t, "crashed", found[at+"victim"], text)
	require.Equal(t, "failed", found[at+"fills_the_folder_for_temporary_files"], text)
	for _, name := range []string{"kills_its_siblings", "goes_away", "is_where_it_was", "says_nothing_on_a_full_disk",
		"leaves_a_daemon"} {
		require.Equal(t, "passed", found[at+name], text)
	}
	require.Contains(t, group.Sub("tests/test_tiny.py/test_leaves_a_daemon").Text(),
		"--- left running, and killed ---\n")
	require.Contains(t, group.Sub("tests/test_tiny.py/test_leaves_a_daemon").Text(), "time.sleep(1000)")
	require.Contains(t, text, ", 1 of them leaky")
	require.NotEqual(t, "not run", found[at+"prints_on_a_full_disk"], text)
	require.Contains(t, group.Sub("tests/test_tiny.py/test_fills_the_folder_for_temporary_files").Text(),
		"No space left on device")
}

// TestFailLeaky checks that what a test leaves running makes it red if that is wanted; pytest itself sees nothing
// wrong.
func TestFailLeaky(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import subprocess

def test_leaks():
    subprocess.Popen(['sleep', '1000'])

def test_clean():
    subprocess.run(['true'])
`})
	group, text := recordRed(t, harness.Suite{Crate: crate, FailLeaky: true})
	require.Equal(t, map[string]string{"tests/test_tiny.py::test_leaks": "leaky",
		"tests/test_tiny.py::test_clean": "passed"}, outcomes(group), text)
	require.Contains(t, group.Sub("tests/test_tiny.py/test_leaks").Text(), "sleep 1000")
	require.Contains(t, text, "2 of 2 tests: 1 passed, 1 leaky\n", "and nothing is said against the group")
	require.NotContains(t, text, "contradict")
}

// TestLongOutput checks that all that a test prints is kept, and that the log has its head and tail.
func TestLongOutput(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `def test_floods():
    print('first')
    for _ in range(50):
        print('x' * ((1 << 20) - 1))
    print('last')
    assert 0
`})
	folder := t.TempDir()
	t.Setenv("PYO3TEST_ARTIFACTS", folder)
	r := harnesstest.Record(t, harness.Suite{Crate: crate})
	require.Equal(t, harnesstest.Failed, r.Outcome())
	text := r.Subs()[0].Subs()[0].Text()
	require.Less(t, len(text), 100<<10)
	require.Contains(t, text, "first\n")
	require.Contains(t, text, "last\n")
	kept, err := filepath.Glob(filepath.Join(folder, "*", "tiny", "output-*.txt"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	require.Contains(t, text, "bytes left out, all is in "+filepath.Base(kept[0])+" ...]")
	info, err := os.Stat(kept[0])
	require.NoError(t, err)
	require.EqualValues(t, 50<<20+11, info.Size())
}

// TestManyTests checks that ten thousand tests, one of which prints 50 MB, need less than 100 MB in the test process.
// They run in one process because that is quick; what they report is the same.
func TestManyTests(t *testing.T) {
	t.Setenv("SELFTEST_ISOLATION", string(harness.InProcess))
	t.Setenv("SELFTEST_CRATE", selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import pytest

@pytest.mark.parametrize('n', range(10_000))
def test_n(n):
    print('x' * (50 << 20 if n == 5000 else 1000))
`}))
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	binary := compiled(t, anycratePackage)
	c := command(binary, "testdata/anycrate", "-test.v", "-test.timeout=10m")
	stdout, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	var peak, passes int
	var words, last string
	for lines := bufio.NewReader(stdout); ; {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, "--- PASS: TestPython/tiny/tests/test_tiny.py/test_n[") {
			passes++
		}
		if trimmed := strings.TrimSpace(line); !strings.HasPrefix(trimmed, "=== RUN") &&
			!strings.HasPrefix(trimmed, "--- ") && len(words) < 1<<20 && len(line) < 500 {
			words += line
		}
		if strings.Contains(line, "tests: ") {
			last = line
		}
		if strings.HasPrefix(line, "--- PASS: TestPython (") { // all is written; the process waits for us to read on
			peak = peakMemory(t, c.Process.Pid)
		}
		if err != nil {
			break
		}
	}
	require.NoError(t, c.Wait(), words)
	require.Contains(t, last, "10000 of 10000 tests: 10000 passed")
	require.Equal(t, 10_000, passes)
	t.Logf("peak %d KiB", peak)
	require.Positive(t, peak)
	require.Less(t, peak, 100<<10)
}

// peakMemory returns the most memory that a process has had, in KiB.
func peakMemory(t *testing.T, pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	peak, err := strconv.Atoi(strings.Fields(after)[0])
	require.NoError(t, err)
	return peak
}
