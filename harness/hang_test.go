package harness_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// hanging sleeps where no Python signal handler can run.
const hanging = `import threading, time

def test_first():
    pass

def test_hangs():
    print('so far')
    threading.Lock().acquire() and time.sleep(1000)

def test_last():
    pass
`

func TestHangCostsOneTest(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": hanging})
	group, text := recordRed(t, harness.Suite{Crate: crate, TestTimeout: 2 * time.Second})
	require.Equal(t, map[string]string{"tests/test_tiny.py::test_first": "passed",
		"tests/test_tiny.py::test_hangs": "hung", "tests/test_tiny.py::test_last": "passed"}, outcomes(group), text)
	hung := group.Subs()[1]
	for _, want := range []string{
		crate + "/tests/test_tiny.py:6: hung in call", "hung: no end within 2s, during call",
		"test_hangs  " + crate + "/tests/test_tiny.py:8", "so far", "again: go test ./harness -run ",
	} {
		require.Contains(t, hung.Text(), want)
	}
	require.Contains(t, hung.Text(), "s before: none of its threads ran: it is stuck")
	require.Contains(t, hung.Text(), "the last test that had ended before it: tests/test_tiny.py::test_first (passed)")
	require.GreaterOrEqual(t, hung.Elapsed(), 2*time.Second)
	require.Less(t, group.Subs()[2].Elapsed(), time.Second)
}

// TestWorkingTest checks that a test that still works at the end of its budget counts as hung, and that its report
// distinguishes it from one that is stuck. All that the system knows about it is in its file.
func TestWorkingTest(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import socket, subprocess, pytest

@pytest.fixture
def served():
    with socket.create_server(("127.0.0.1", 4711)) as server:
        yield server

def test_works(served):
    child = subprocess.Popen(["sleep", "1000"])
    while True:
        pass
`})
	folder := t.TempDir()
	t.Setenv("PYO3TEST_ARTIFACTS", folder)
	r := harnesstest.Record(t, harness.Suite{Crate: crate, TestTimeout: 3 * time.Second})
	text := r.Subs()[0].Subs()[0].Text()
	require.Regexp(t, `in the [\d.]+s before: it worked, with [\d.]+s of processor time; a second dump found it at `,
		text)
	require.Contains(t, text, "fixtures: served\n")
	files, err := filepath.Glob(filepath.Join(folder, "*", "tiny", "hang-*.txt"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	whole, err := os.ReadFile(files[0])
	require.NoError(t, err)
	for _, want := range []string{
		"a second dump, a moment later:", "tcp 127.0.0.1:4711 to 0.0.0.0:0 listening",
		`descendant \d+ of \d+: state S, sleep 1000`,
		`processor time [1-9][\d.]* s`, `memory +\d+ kB`, "'python': state ",
	} {
		require.Regexp(t, want, string(whole))
	}
}

// TestProofs checks that another run, after the last test, shows what a fork has to do with a hang, and where a crash
// happened.
func TestProofs(t *testing.T) {
	files := map[string]string{"tests/test_tiny.py": `import ctypes, os, threading

PID = os.getpid()

def holder(lock, release, held):
    with lock:
        held.set()
        release.wait()

def hold():
    lock, release, held = threading.Lock(), threading.Event(), threading.Event()
    threading.Thread(target=holder, args=(lock, release, held), daemon=True).start()
    held.wait()
    return lock, release

LENT, KEPT = hold(), hold()

def test_fork_makes_it_hang():
    LENT[1].set()
    LENT[0].acquire()

def test_hangs_anyhow():
    KEPT[0].acquire()

def test_crashes():
    ctypes.string_at(0)

def test_crashes_in_a_fork():
    if os.getpid() != PID:
        os.abort()

def test_exits():
    os._exit(3)

def test_last():
    pass
`}
	group, text := recordRed(t, harness.Suite{Crate: selftest.WriteCrate(t, files), Workers: 2})
	require.Contains(t, text, "6 of 6 tests: 1 passed, 2 hung, 3 crashed")
	const again = "(proof) tests/test_tiny.py::test_%s, run once more in a fresh interpreter, without a fork"
	for _, want := range []string{
		fmt.Sprintf(again, "fork_makes_it_hang") + ": passed after ",
		fmt.Sprintf(again, "hangs_anyhow") + ": a proven deadlock there too, after ",
		fmt.Sprintf(again, "crashes") + ", under gdb\nthread ",
		fmt.Sprintf(again, "crashes_in_a_fork") + ", under gdb: passed after ",
	} {
		require.Contains(t, text, want)
	}
	require.Equal(t, 4, strings.Count(text, "(proof)"))
	require.Regexp(t, `under gdb\nthread \d+ "python"\n    (ffi_call|\S*strlen\S*)  /`, text)
	for _, test := range group.Subs() {
		require.NotContains(t, test.Text(), "(proof)", "no test waits for it")
	}
	written, err := os.ReadFile(os.Getenv("PYO3TEST_JUNIT"))
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(string(written), "(proof) tests/"), "%s", written)
}

func TestBudgetOfTheProject(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import pytest, time

@pytest.mark.timeout(1)
def test_hangs():
    time.sleep(1000)
`, "pytest.ini": "[pytest]\nmarkers = timeout: seconds\n"})
	group, _ := recordRed(t, harness.Suite{Crate: crate})
	require.Contains(t, group.Subs()[0].Text(), "hung: no end within 1s")
}

// TestHangInPytestsOwnProcess checks that pytest is killed, and started again for the tests that are left.
func TestHangInPytestsOwnProcess(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": hanging})
	group, text := recordRed(t, harness.Suite{Crate: crate, TestTimeout: 2 * time.Second, Isolation: harness.InProcess})
	require.Equal(t, map[string]string{"tests/test_tiny.py::test_first": "passed",
		"tests/test_tiny.py::test_hangs": "hung", "tests/test_tiny.py::test_last": "passed"}, outcomes(group), text)
	require.Contains(t, text, "3 of 3 tests: 2 passed, 1 hung")
	require.Contains(t, group.Subs()[1].Text(), "test_hangs  "+crate+"/tests/test_tiny.py:8")
}

// TestDeathOfPytestsOwnProcess checks that pytest is started again if a test kills it. A test that the next collection
// does not have is not run.
func TestDeathOfPytestsOwnProcess(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import os, pathlib, pytest

MARK = pathlib.Path("mark")

@pytest.mark.parametrize("n", [1, 1, 2])
def test_some(n):
    pass

def test_dies():
    MARK.touch()
    os.abort()

def test_exits():
    os._exit(0)

if not MARK.exists():
    def test_changes():
        pass

def test_last():
    pass
`})
	group, text := recordRed(t, harness.Suite{Crate: crate, Isolation: harness.InProcess})
	require.Contains(t, text, "7 of 7 tests: 4 passed, 2 crashed, 1 not run")
	found := outcomes(group)
	require.Equal(t, "crashed", found["tests/test_tiny.py::test_dies"])
	require.Equal(t, "crashed", found["tests/test_tiny.py::test_exits"])
	require.Equal(t, "not run", found["tests/test_tiny.py::test_changes"])
	require.Equal(t, "passed", found["tests/test_tiny.py::test_last"])
	require.Contains(t, text, "1 test not run: pytest was started again, and did not collect them any more")
}

// TestHangsOutsideTests checks that every phase has its budget, and that what hangs there is named.
func TestHangsOutsideTests(t *testing.T) {
	const rest = "import time\ntime.sleep(1000)\n"
	for name, c := range map[string]struct {
		files    map[string]string
		suite    harness.Suite
		want     []string
		outcomes map[string]string
	}{
		"import": {map[string]string{"sitecustomize.py": "", "src/lib.rs": `use pyo3::prelude::*;

#[pymodule]
fn tiny(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    loop { std::thread::park(); }
}
`},
			harness.Suite{StartTimeout: 3 * time.Second},
			[]string{"pytest hung during start and import and was killed", "tiny"}, map[string]string{}},
		"collection of a file that is asked for": {map[string]string{"tests/test_zz.py": rest},
			harness.Suite{CollectTimeout: 3 * time.Second, Tests: []string{"tests/test_zz.py"}},
			[]string{"pytest hung during collection of tests/test_zz.py and was killed", "{crate}/tests/test_zz.py:2"},
			map[string]string{}},
		"collection of conftest.py": {map[string]string{"tests/conftest.py": rest},
			harness.Suite{CollectTimeout: 3 * time.Second},
			[]string{"pytest hung during collection", "and was killed", "{crate}/tests/conftest.py:2"},
			map[string]string{}},
		"session finish": {map[string]string{"conftest.py": `import time

def pytest_sessionfinish():
    time.sleep(1000)
`}, harness.Suite{FinishTimeout: 2 * time.Second},
			[]string{"pytest hung during session finish and was killed", "pytest_sessionfinish  {crate}/conftest.py:4"},
			map[string]string{"tests/test_tiny.py::test_answer": "passed"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.suite.Crate = selftest.WriteCrate(t, c.files)
			group, text := recordRed(t, c.suite)
			for _, want := range c.want {
				require.Contains(t, text, crateIn(want, c.suite.Crate))
			}
			require.Equal(t, c.outcomes, outcomes(group), text)
		})
	}
}

// TestHangAtCollection checks that a file whose import hangs pytest costs no other file its verdicts.
func TestHangAtCollection(t *testing.T) {
	const rest = "import time\ntime.sleep(1000)\n"
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_a.py": rest, "tests/test_zz.py": rest})
	group, text := recordRed(t, harness.Suite{Crate: crate, CollectTimeout: 3 * time.Second})
	require.Equal(t, map[string]string{"tests/test_a.py": "error", "tests/test_zz.py": "error",
		"tests/test_tiny.py::test_answer": "passed"}, outcomes(group), text)
	for _, file := range []string{"tests/test_a.py", "tests/test_zz.py"} {
		hung := group.Sub(file + "/(collection)").Text()
		require.Contains(t, hung, "pytest hung as it imported this file, and was killed after 3s")
		require.Contains(t, hung, crate+"/"+file+":2")
	}
	require.Contains(t, text, "1 of 1 tests: 1 passed, 2 collection errors")
}

// TestBadExits checks that an interpreter that does not end, or dies, after its session is a separate red subtest.
// Every test keeps its verdict.
func TestBadExits(t *testing.T) {
	for name, c := range map[string]struct {
		conftest string
		timeout  time.Duration
		want     []string
	}{
		"an exit handler that waits": {`import atexit, time

@atexit.register
def waits():
    time.sleep(1000)
`, time.Second,
			[]string{"pytest's session was over, and its interpreter did not end within 1s: it was killed",
				"waits  {crate}/conftest.py:5"}},
		"a thread that stays": {`import threading

threading.Thread(target=threading.Event().wait, name='stays').start()
`, time.Minute, // the proof comes first
			[]string{"its interpreter did not end (deadlock proved: none of its 2 threads can ever run again)",
				`"stays"`}},
		"a crash": {`import atexit, os

atexit.register(os.abort)
`, time.Second, []string{"pytest's session was over, and its process died: SIGABRT (6)"}},
	} {
		t.Run(name, func(t *testing.T) {
			suite := harness.Suite{Crate: selftest.WriteCrate(t, map[string]string{"conftest.py": c.conftest}),
				ExitTimeout: c.timeout}
			group, text := recordRed(t, suite)
			require.Equal(t, map[string]string{"tests/test_tiny.py::test_answer": "passed", "(exit)": "error"},
				outcomes(group), text)
			for _, want := range c.want {
				require.Contains(t, group.Sub("(exit)").Text(), crateIn(want, suite.Crate))
			}
			written, err := os.ReadFile(os.Getenv("PYO3TEST_JUNIT"))
			require.NoError(t, err)
			require.Contains(t, string(written), `name="test_answer"`)
			require.Contains(t, string(written), `name="(exit)"`)
		})
	}
	t.Run("work at the end", func(t *testing.T) { // not a hang
		crate := selftest.WriteCrate(t, map[string]string{"conftest.py": `import atexit, time

@atexit.register
def works():
    end = time.process_time() + 3
    while time.process_time() < end: pass
`})
		r := harnesstest.Record(t, harness.Suite{Crate: crate, ExitTimeout: time.Second})
		require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
	})
}

// TestDeadline checks that a run ends before go test's own -timeout, which would panic and skip all cleanup.
func TestDeadline(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": hanging})
	harnesstest.Record(t, harness.Suite{Crate: crate, Tests: []string{"tests/test_tiny.py::test_first"}}) // builds
	t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
	end := time.Now().Add(8 * time.Second)
	r := harnesstest.RecordUntil(t, harness.Suite{Crate: crate}, end)
	require.True(t, time.Now().Before(end))
	require.Equal(t, harnesstest.Failed, r.Outcome())
	require.Equal(t, map[string]string{"tests/test_tiny.py::test_first": "passed",
		"tests/test_tiny.py::test_hangs": "not run", "tests/test_tiny.py::test_last": "not run"}, outcomes(r.Subs()[0]))
	require.Contains(t, r.Subs()[0].Text(), "1 test not run: the deadline of go test (-timeout) is near")
}

// TestDeadlineBetweenTests checks that a group that the deadline ends while no test runs is red too.
func TestDeadlineBetweenTests(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"collection": {"conftest.py": `import time

def pytest_collection_modifyitems():
    time.sleep(1000)
`},
		"session finish": {"conftest.py": `import time

def pytest_sessionfinish():
    time.sleep(1000)
`},
	} {
		t.Run(name, func(t *testing.T) {
			crate := selftest.WriteCrate(t, files)
			t.Setenv("PYO3TEST_ARTIFACTS", t.TempDir())
			r := harnesstest.RecordUntil(t, harness.Suite{Crate: crate}, time.Now().Add(10*time.Second))
			require.Equal(t, harnesstest.Failed, r.Outcome())
			require.Contains(t, r.Subs()[0].Text(),
				"the group was ended early, during "+name+": the deadline of go test (-timeout) is near")
		})
	}
}

// TestSlow checks that a test that has used half of its budget is reported, but is not a hang.
func TestSlow(t *testing.T) {
	crate := selftest.WriteCrate(t, map[string]string{"tests/test_tiny.py": `import time

def test_slow():
    time.sleep(7)
`})
	r := harnesstest.Record(t, harness.Suite{Crate: crate, TestTimeout: 12 * time.Second})
	require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
	require.Regexp(t, `SLOW tests/test_tiny.py::test_slow: 6s of 12s; pid \d+, threads: 1, no thread holds the GIL \(`+
		crate+`/tests/test_tiny.py:4\)`, r.Subs()[0].Text())
}
