package harness_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/harnesstest"
	"pyo3test/harness/internal/selftest"
)

// TestStandstill checks that, if pytest's own process stops making progress among the tests, its stacks are shown, the
// test that it was to report is red, and pytest is started again for the others. It is not started again forever.
func TestStandstill(t *testing.T) {
	const tests = `def test_a():
    pass

def test_b():
    pass

def test_c():
    pass
`
	hook := func(name, condition, deed string) map[string]string {
		return map[string]string{"tests/test_tiny.py": tests,
			"conftest.py": "import threading, time\n\ndef " + name + ":\n    if " + condition + ":\n        " + deed +
				"\n"}
	}
	onlyB := map[string]string{"a": "passed", "b": "error", "c": "passed"}
	for name, c := range map[string]struct {
		suite    harness.Suite
		files    map[string]string
		want     []string
		outcomes map[string]string
	}{
		"a hook that is deadlocked": {harness.Suite{FinishTimeout: time.Minute},
			hook("pytest_runtest_logfinish(nodeid)", "'test_b' in nodeid",
				"lock = threading.Lock(); lock.acquire(); lock.acquire()"),
			[]string{"and was killed: deadlock proved: its only thread can never run again",
				"pytest_runtest_logfinish  {crate}/conftest.py:5"}, onlyB},
		"a hook in process": {harness.Suite{Isolation: harness.InProcess},
			hook("pytest_runtest_logreport(report)", "'test_b' in report.nodeid and report.when == 'call'",
				"time.sleep(1000)"),
			[]string{"pytest's own process stood still after the end of " +
				"tests/test_tiny.py::test_b and was killed after 4s",
				"pytest_runtest_logreport  {crate}/conftest.py:5"}, onlyB},
		"a hook beside fresh interpreters": {harness.Suite{Isolation: harness.Subprocess, Workers: 3,
			FinishTimeout: 10 * time.Second},
			hook("pytest_runtest_logstart(nodeid)", "'test_b' in nodeid", "time.sleep(1000)"),
			[]string{"pytest's own process stood still after the end of tests/test_tiny.py::test_b " +
				"and was killed after 10s",
				"pytest_runtest_logstart  {crate}/conftest.py:5"}, onlyB},
		"a hook that always sleeps": {harness.Suite{FinishTimeout: 2 * time.Second},
			map[string]string{"conftest.py": `import time

def pytest_runtest_logfinish():
    time.sleep(1000)
`,
				"tests/test_tiny.py": `import pytest

@pytest.mark.parametrize('n', range(5))
def test_n(n):
    pass
`}, []string{"5 of 5 tests: 3 error, 2 not run", "2 tests not run: pytest's own process stood still"}, nil},
		"a test that stops pytest": {harness.Suite{}, map[string]string{"tests/test_tiny.py": `import os, signal, time

def test_a():
    pass

def test_b():
    time.sleep(1)  # pytest reports test_a
    os.kill(os.getppid(), signal.SIGSTOP)

def test_c():
    pass
`},
			[]string{"pytest's own process stood still after the end of " +
				"tests/test_tiny.py::test_b and was killed after 4s",
				"is stopped by a signal such as SIGSTOP"}, onlyB},
		"a hook after the collection": {harness.Suite{CollectTimeout: 4 * time.Second},
			hook("pytest_collection_modifyitems()", "True", "time.sleep(1000)"),
			[]string{"pytest hung during collection and was killed after 4s",
				"pytest_collection_modifyitems  {crate}/conftest.py:5"}, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			c.suite.Crate = selftest.WriteCrate(t, c.files)
			if c.suite.FinishTimeout == 0 {
				c.suite.FinishTimeout = 4 * time.Second
			}
			c.suite.TestTimeout, c.suite.ExitTimeout = 20*time.Second, 20*time.Second
			group, text := recordRed(t, c.suite)
			for _, test := range group.Subs() {
				text += test.Text()
			}
			for _, want := range c.want {
				require.Contains(t, text, crateIn(want, c.suite.Crate))
			}
			if c.outcomes != nil {
				want := map[string]string{}
				for test, outcome := range c.outcomes {
					want["tests/test_tiny.py::test_"+test] = outcome
				}
				require.Equal(t, want, outcomes(group), text)
			}
		})
	}
}

// TestSlowHook checks that the time of a hook does not count towards its test's budget.
func TestSlowHook(t *testing.T) {
	for _, isolation := range []harness.Isolation{harness.Forked, harness.InProcess} {
		crate := selftest.WriteCrate(t, map[string]string{"conftest.py": `import time

def pytest_runtest_logreport(report):
    if report.when == 'call':
        time.sleep(6)
`})
		r := harnesstest.Record(t, harness.Suite{Crate: crate, Isolation: isolation, TestTimeout: 4 * time.Second})
		require.Equal(t, harnesstest.Passed, r.Outcome(), r.Text())
	}
}
