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

const (
	passes = "def test_passes():\n    pass\n"
	passed = "tests/test_tiny.py::test_passes"
)

// rewrite returns a conftest.py that replaces pytest's JUnit file at the very end, and a test that passes.
func rewrite(code string) map[string]string {
	return map[string]string{
		"conftest.py":        "import os, pytest\n\n@pytest.hookimpl(trylast=True)\ndef pytest_unconfigure(config):\n    path = config.option.xmlpath\n    " + code + "\n",
		"tests/test_tiny.py": passes,
	}
}

// meddle returns a test that finds the descriptor through which pytest reports its tests, and a test after it.
func meddle(code string) map[string]string {
	return map[string]string{"tests/test_tiny.py": `import os, stat

PYTEST = os.getpid()

def pipe():
    for name in sorted(os.listdir(f"/proc/{PYTEST}/fd"), key=int):
        path = f"/proc/{PYTEST}/fd/{name}"
        if int(name) > 100 and os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode):
            with open(f"/proc/{PYTEST}/fdinfo/{name}") as file:
                if int(file.read().split()[3], 8) & 1:
                    return os.open(path, os.O_WRONLY), int(name)

def test_meddles():
    fd, theirs = pipe()
    ` + code + "\n\n" + passes}
}

// TestNothingIsGreenByMistake runs suites that look like a success to a reader of only the exit status, the JUnit file
// or the stream of reports. Each has to be red, with a message that names what does not fit.
func TestNothingIsGreenByMistake(t *testing.T) {
	const write = "open(path, 'wb').write("
	meddling := func(first string) map[string]string {
		return map[string]string{"tests/test_tiny.py::test_meddles": first, passed: "passed"}
	}
	onlyPassed := map[string]string{passed: "passed"}
	badExit := map[string]string{passed: "passed", "(exit)": "error"}
	for name, c := range map[string]struct {
		files     map[string]string
		isolation harness.Isolation
		want      []string
		outcomes  map[string]string // nil if they depend on how far the session came
	}{
		"JUnit with entities": {rewrite(write + `b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>')`), "",
			[]string{"pytest's JUnit file: read JUnit: ", "invalid character entity"}, onlyPassed},
		"JUnit of bad UTF-8": {rewrite(write + `b'<testsuite><testcase name="\xff\xfe"/></testsuite>')`), "",
			[]string{"pytest's JUnit file: read JUnit: ", "invalid UTF-8"}, onlyPassed},
		"JUnit with a nameless case": {rewrite(`text = open(path, 'rb').read(); ` + write + `text.replace(b'</testsuite>', b'<testcase/></testsuite>'))`), "",
			[]string{"a testcase without a name: seen passed 0 times, and pytest's JUnit file has it once"}, onlyPassed},
		"JUnit of another suite": {rewrite(write + `b'<testsuite><testcase classname="a" name="b"/></testsuite>')`), "",
			[]string{passed + ": seen passed once, and pytest's JUnit file has it 0 times"}, onlyPassed},
		"JUnit with a failure": {rewrite(`text = open(path, 'rb').read(); ` + write + `text.replace(b' /></testsuite>', b'><failure/></testcase></testsuite>'))`), "",
			[]string{"seen failed 0 times, and pytest's JUnit file has it once"}, onlyPassed},
		"JUnit of 100 MB": {rewrite("os.truncate(path, 100 << 20)"), "",
			[]string{"pytest's JUnit file has 104857600 bytes: a test or a plugin wrote it"}, onlyPassed},
		"JUnit that never ends": {rewrite("os.remove(path) or os.mkfifo(path)"), "",
			[]string{"pytest's JUnit file is no file: a test or a plugin wrote it"}, onlyPassed},

		"events twice": {meddle(`os.write(fd, b'{"ev":"collected","count":2,"notes":[]}\n')`), "",
			[]string{`pytest's stream of events contradicts itself: a "collected" after the end of the collection`, "write to a descriptor that it did not open?"}, nil},
		"an end too early": {meddle(`os.write(fd, b'{"ev":"finished","exitstatus":0}\n')`), harness.InProcess,
			[]string{`contradicts itself: a "finished" while a test runs`}, nil},
		"a pass too much": {meddle(`os.write(fd, b'{"ev":"finish","index":0,"pid":1,"exit":0,"signal":null,"complete":true,"duration":0,"killed":null}\n')`), harness.InProcess,
			[]string{"event of tests/test_tiny.py::test_meddles out of its order"}, nil},
		"a pass that JUnit does not have": {meddle(`os.write(fd, b'{"ev":"report","index":0,"when":"call","outcome":"skipped","longrepr":"","duration":0,"message":"","path":"","line":0,"wasxfail":null,"sections":[],"properties":[],"subtest":null}\n')`), harness.InProcess,
			[]string{"test_meddles: seen skipped once, and pytest's JUnit file has it 0 times"}, meddling("skipped")},
		"noise": {meddle(`os.write(fd, b'noise\n')`), "",
			[]string{`something other than the plugin wrote to its stream of events: "noise"`}, meddling("passed")},
		"a flood of noise": {meddle(`os.write(fd, b'noise\n' * 1_000_000 + b'y' * 5_000_000 + b'\n')`), "",
			[]string{`something other than the plugin wrote to its stream of events: "and 999991 more lines"`}, meddling("passed")},
		"a flood of reports": {meddle(`[os.write(fd, b'{"ev":"report","index":0,"when":"call","outcome":"failed","longrepr":"' + b'x' * 900_000 + b'","duration":0,"message":"","path":"","line":0,"wasxfail":null,"sections":[],"properties":[],"subtest":null}\n') for _ in range(100)]`), harness.InProcess,
			[]string{"test_meddles: seen passed 0 times, and pytest's JUnit file has it once"}, meddling("failed")},
		"a stream cut off": {meddle("os.close(theirs)"), harness.InProcess,
			[]string{"1 passed, 1 crashed"}, nil},

		"os._exit at the import of conftest": {map[string]string{"conftest.py": "import os\nos._exit(0)\n", "tests/test_tiny.py": passes}, "",
			[]string{"pytest ended in the middle of collection: exit status 0", "it left with os._exit or SystemExit"}, map[string]string{}},
		"os._exit at collection": {map[string]string{"tests/test_tiny.py": "import os\nos._exit(5)\n"}, "",
			[]string{"pytest ended in the middle of collection: exit status 5", "it left with os._exit"}, map[string]string{}},
		"os._exit at session finish": {map[string]string{"conftest.py": "import os\n\ndef pytest_sessionfinish():\n    os._exit(0)\n", "tests/test_tiny.py": passes}, "",
			[]string{"pytest ended in the middle of session finish: exit status 0", "it left with os._exit", "{crate}/conftest.py:3: pytest_sessionfinish: it runs in pytest's own process", "1 of 1 tests: 1 passed, an error of the session"}, onlyPassed},
		"os._exit after the session": {map[string]string{"conftest.py": "import os\n\ndef pytest_unconfigure():\n    os._exit(0)\n", "tests/test_tiny.py": passes}, "",
			[]string{"pytest's process did not end by itself: something left it with os._exit(0) after the session"}, badExit},
		"os._exit in an exit handler": {map[string]string{"conftest.py": "import atexit, os\natexit.register(os._exit, 0)\n", "tests/test_tiny.py": passes}, harness.InProcess,
			[]string{"pytest's process did not end by itself"}, badExit},
		"SystemExit after the session": {map[string]string{"conftest.py": "import sys\n\ndef pytest_unconfigure():\n    sys.exit(0)\n", "tests/test_tiny.py": passes}, "",
			[]string{"pytest's session ended with status 0, its process otherwise: exit status 70", "SystemExit: 0", "{crate}/conftest.py"}, badExit},
		"os._exit in each phase of forked tests": {map[string]string{"tests/test_tiny.py": `import os, pytest

@pytest.fixture(params=["setup", "teardown", "no"])
def bad(request):
    request.param == "setup" and os._exit(0)
    yield
    request.param == "teardown" and os._exit(0)

def test_fixture(bad):
    pass

@pytest.mark.parametrize("status", [0, 1, 3, 4, 5, 70, 255])
def test_exits(status):
    os._exit(status)

` + passes}, "", []string{"11 tests: 2 passed, 9 crashed"}, nil},

		"a session that a test stops": {map[string]string{"tests/test_tiny.py": "def test_stops(request):\n    request.session.shouldfail = 'enough'\n\n" + passes}, "",
			[]string{"2 tests: 1 passed, 1 not run"}, map[string]string{"tests/test_tiny.py::test_stops": "passed", passed: "not run"}},
		"a file that is left open in a cycle": {map[string]string{"pytest.ini": "[pytest]\naddopts = -W error\n", "tests/test_tiny.py": "def test_leaves():\n    cycle = [open(__file__)]\n    cycle.append(cycle)\n\n" + passes}, "",
			[]string{"2 tests: 1 passed, 1 error"}, map[string]string{"tests/test_tiny.py::test_leaves": "error", passed: "passed"}},

		"tests that are only set up": {map[string]string{"pytest.ini": "[pytest]\naddopts = --setup-only\n", "tests/test_tiny.py": passes}, "",
			[]string{"1 of 1 tests: 1 not run"}, map[string]string{passed: "not run"}},
		"tests that are only collected": {map[string]string{"pytest.ini": "[pytest]\naddopts = --collect-only\n", "tests/test_tiny.py": passes}, "",
			[]string{"1 of 1 tests: 1 not run"}, map[string]string{passed: "not run"}},

		"a test that kills the agent": {map[string]string{"tests/test_tiny.py": "import os, time\n\ndef test_kills():\n    agent = int(open(f'/proc/{os.getppid()}/stat').read().rsplit(')', 1)[1].split()[1])\n    os.kill(agent, 9)\n    time.sleep(1000)\n\n" + passes}, "",
			[]string{"the agent, which watches the tests in their container, ended with SIGKILL (9): did a test kill it?"}, map[string]string{"tests/test_tiny.py::test_kills": "not run", passed: "not run"}},
		"a test that writes to the agent's streams": {map[string]string{"tests/test_tiny.py": `import os

def test_writes():
    agent = int(open(f"/proc/{os.getppid()}/stat").read().rsplit(")", 1)[1].split()[1])
    for name in os.listdir(f"/proc/{agent}/fd"):
        if os.readlink(f"/proc/{agent}/fd/{name}").startswith("pipe:"):
            os.write(os.open(f"/proc/{agent}/fd/{name}", os.O_WRONLY | os.O_NONBLOCK), b"noise\n")

` + passes}, "", []string{"noise"}, nil},
		"a test that closes everything": {map[string]string{"tests/test_tiny.py": "import os\n\ndef test_closes():\n    os.closerange(0, 65536)\n\n" + passes}, "",
			[]string{"2 tests: 1 passed, 1 crashed"}, map[string]string{"tests/test_tiny.py::test_closes": "crashed", passed: "passed"}},

		"a package before the built one": {map[string]string{"conftest.py": "\n", "tests/tiny/__init__.py": "\n", "tests/tiny/test_tiny.py": "import tiny\n\n" + passes, "tests/test_tiny.py": ""}, "",
			[]string{"the tests import tiny from {crate}/tests/tiny/__init__.py, and what was built is /opt/venv/", "keep its folder off sys.path"}, map[string]string{"tests/tiny/test_tiny.py::test_passes": "passed"}},
		"a module that a conftest prefers": {map[string]string{
			"conftest.py":        "import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), 'stubs'))\n",
			"stubs/tiny.py":      "raise ImportError('only for documentation')\n",
			"tests/test_tiny.py": "import pytest\n\ntry:\n    import tiny\nexcept ImportError:\n    tiny = None\n\npytestmark = pytest.mark.skipif(tiny is None, reason='not built')\n\n" + passes}, "",
			[]string{"the tests import tiny from {crate}/stubs/tiny.py, and what was built is /opt/venv/"}, map[string]string{passed: "skipped"}},
		"a module that a test prefers": {map[string]string{
			"stubs/tiny.py":      "\n",
			"tests/test_tiny.py": "import sys\n\ndef test_stub():\n    sys.path.insert(0, 'stubs')\n    import tiny\n\n" + passes}, "",
			[]string{"2 tests: 1 passed, 1 error"}, map[string]string{"tests/test_tiny.py::test_stub": "error", passed: "passed"}},
	} {
		t.Run(name, func(t *testing.T) {
			crate := selftest.WriteCrate(t, c.files)
			group, text := recordRed(t, harness.Suite{Crate: crate, Isolation: c.isolation})
			for _, want := range c.want {
				require.Contains(t, text, crateIn(want, crate))
			}
			if c.outcomes != nil {
				require.Equal(t, c.outcomes, outcomes(group), text)
			}
		})
	}
}

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
	r := harnesstest.Record(t, harness.Suite{Crate: crate, Requirements: []string{"pytest-rerunfailures==16.7", "pyfakefs==6.3.2"}})
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
	require.Len(t, r.Subs()[0].Subs(), 3)
}

// TestUsageErrors checks that an option or setting of a missing plugin is red, and that the project to require is
// named.
func TestUsageErrors(t *testing.T) {
	for addopts, want := range map[string]string{
		"addopts = --benchmark-disable":                  "add to Requirements pytest-benchmark (for --benchmark-disable)",
		"addopts = --timeout=30":                         "add to Requirements pytest-timeout (for --timeout=30)",
		"addopts = --asyncio-mode=auto --reruns 2":       "add to Requirements pytest-asyncio (for --asyncio-mode=auto), pytest-rerunfailures (for --reruns)",
		"addopts = -p no_such_plugin":                    "add to Requirements no-such-plugin (for -p no_such_plugin",
		"required_plugins = pytest-mock>=3":              "add to Requirements pytest-mock>=3 (in required_plugins)",
		"addopts = --strict-config\nasyncio_mode = auto": "add to Requirements pytest-asyncio (for the setting asyncio_mode)",
		"addopts = --no-such-option":                     "a usage error: an argument, or a setting of the project, that this pytest does not know",
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
	require.Contains(t, text, "pytest-xdist (for -n)")
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
	for _, name := range []string{"kills_its_siblings", "goes_away", "is_where_it_was", "says_nothing_on_a_full_disk", "leaves_a_daemon"} {
		require.Equal(t, "passed", found[at+name], text)
	}
	require.Contains(t, group.Sub("tests/test_tiny.py/test_leaves_a_daemon").Text(), "--- left running, and killed ---\n")
	require.Contains(t, group.Sub("tests/test_tiny.py/test_leaves_a_daemon").Text(), "time.sleep(1000)")
	require.Contains(t, text, ", 1 of them leaky")
	require.NotEqual(t, "not run", found[at+"prints_on_a_full_disk"], text)
	require.Contains(t, group.Sub("tests/test_tiny.py/test_fills_the_folder_for_temporary_files").Text(), "No space left on device")
}

// TestFailLeaky checks that what a test leaves running makes it red if that is wanted; pytest itself sees nothing
// wrong.
func TestFailLeaky(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": "import subprocess\n\ndef test_leaks():\n    subprocess.Popen(['sleep', '1000'])\n\ndef test_clean():\n    subprocess.run(['true'])\n"})
	group, text := recordRed(t, harness.Suite{Crate: crate, FailLeaky: true})
	require.Equal(t, map[string]string{"tests/test_tiny.py::test_leaks": "leaky", "tests/test_tiny.py::test_clean": "passed"}, outcomes(group), text)
	require.Contains(t, group.Sub("tests/test_tiny.py/test_leaks").Text(), "sleep 1000")
	require.Contains(t, text, "2 of 2 tests: 1 passed, 1 leaky\n", "and nothing is said against the group")
	require.NotContains(t, text, "contradict")
}

// TestLongOutput checks that all that a test prints is kept, and that the log has its head and tail.
func TestLongOutput(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": "def test_floods():\n    print('first')\n    for _ in range(50):\n        print('x' * ((1 << 20) - 1))\n    print('last')\n    assert 0\n"})
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
	t.Setenv("SELFTEST_CRATE", selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": "import pytest\n\n@pytest.mark.parametrize('n', range(10_000))\ndef test_n(n):\n    print('x' * (50 << 20 if n == 5000 else 1000))\n"}))
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
		if trimmed := strings.TrimSpace(line); !strings.HasPrefix(trimmed, "=== RUN") && !strings.HasPrefix(trimmed, "--- ") && len(words) < 1<<20 && len(line) < 500 {
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
