package harness_test

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"pyo3test/harness"
	"pyo3test/harness/internal/selftest"
)

// deadlocking has the most frequent hang of extensions: a thread that holds a Rust lock wants the GIL, which the main
// thread holds while it wants the lock.
var deadlocking = map[string]string{
	"src/lib.rs": `use pyo3::prelude::*;

#[pymodule]
mod tiny {
    use pyo3::prelude::*;
    use std::sync::{mpsc, Mutex};
    use std::time::Duration;

    static LOCK: Mutex<()> = Mutex::new(());

    #[pyfunction]
    fn deadlock() {
        let (locked, told) = mpsc::channel();
        std::thread::Builder::new().name("worker".into()).spawn(move || {
            let _guard = LOCK.lock();
            locked.send(()).unwrap();
            Python::attach(|_| ());
        }).unwrap();
        told.recv().unwrap();
        let _guard = LOCK.lock();
    }

    #[pyfunction]
    fn slow(py: Python<'_>) {
        py.detach(|| {
            std::thread::spawn(|| std::thread::sleep(Duration::from_secs(3))).join().unwrap();
            std::thread::spawn(|| std::thread::park_timeout(Duration::from_secs(3))).join().unwrap();
        });
    }
}
`,
	"tests/test_tiny.py": `import tiny

def test_slow():
    tiny.slow()

def test_deadlock():
    print("so far")
    tiny.deadlock()

def test_last():
    pass
`,
}

func TestDeadlockIsProved(t *testing.T) {
	crate := selftest.WriteCrate(t, deadlocking)
	group, text := recordRed(t, harness.Suite{Crate: crate, TestTimeout: time.Minute})
	require.Equal(t, map[string]string{"tests/test_tiny.py::test_slow": "passed",
		"tests/test_tiny.py::test_deadlock": "hung", "tests/test_tiny.py::test_last": "passed"}, outcomes(group), text)
	hung := group.Subs()[1].Text()
	for _, want := range []string{
		crate + "/tests/test_tiny.py:6: hung in call", "none of its 2 threads can ever run again, during call",
		`'worker' wants the GIL`, "proof: nothing moved in ", "waits without a timeout for another thread",
		"test_deadlock  " + crate + "/tests/test_tiny.py:8", "tiny::tiny::deadlock", "holds the GIL", "so far",
		"again: go test ./harness -run ",
	} {
		require.Contains(t, hung, want)
	}
	after := regexp.MustCompile(`hung: deadlock proved after ([\d.]+)s: `).FindStringSubmatch(hung)
	require.Len(t, after, 2, hung)
	seconds, err := strconv.ParseFloat(after[1], 64)
	require.NoError(t, err)
	t.Logf("proved after %v s\n%s", seconds, hung)
	require.Less(t, seconds, 20.0) // of sixty; two on an idle machine
}

func TestDeadlockInPytestsOwnProcess(t *testing.T) {
	crate := selftest.WriteCrate(t, deadlocking)
	group, text := recordRed(t, harness.Suite{Crate: crate, Isolation: harness.InProcess})
	require.Equal(t, map[string]string{"tests/test_tiny.py::test_slow": "passed",
		"tests/test_tiny.py::test_deadlock": "hung", "tests/test_tiny.py::test_last": "passed"}, outcomes(group), text)
	require.Contains(t, group.Subs()[1].Text(), "none of its 2 threads can ever run again, during call")
	require.Contains(t, group.Subs()[1].Text(), "'worker' wants the GIL")
}

// TestDeadlockThatIsNotProved checks that a deadlock uses up its budget if the project says so.
func TestDeadlockThatIsNotProved(t *testing.T) {
	files := map[string]string{"pyproject.toml": selftest.Tiny["pyproject.toml"] + `
[tool.pyo3test]
no-deadlock-proof = true
test-timeout = 4
`}
	for name, text := range deadlocking {
		files[name] = text
	}
	group, _ := recordRed(t,
		harness.Suite{Crate: selftest.WriteCrate(t, files), Tests: []string{"tests/test_tiny.py::test_deadlock"}})
	require.Contains(t, group.Subs()[0].Text(), "hung: no end within 4s, during call")
	require.NotContains(t, group.Subs()[0].Text(), "wants the GIL")
}
