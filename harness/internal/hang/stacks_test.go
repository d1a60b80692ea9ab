package hang

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFoldFatal(t *testing.T) {
	const text = `before
Fatal Python error: Aborted

Current thread 0x1 (most recent call first):
  File "/src/a.py", line 3 in test_a
  File "/opt/venv/lib/python3.11/site-packages/_pytest/python.py", line 1 in f
  File "/opt/venv/lib/python3.11/site-packages/pluggy/_callers.py", line 1 in g
  File "/src/conftest.py", line 3 in h
  File "/opt/pyo3test/agent/launch.py", line 1 in run
`
	require.Equal(t, `before
Fatal Python error: Aborted

Current thread 0x1 (most recent call first):
  File "/src/a.py", line 3 in test_a
  ... 2 frames of pytest
  File "/src/conftest.py", line 3 in h
  ... 1 frame of pytest
`, FoldFatal(text))
	require.Equal(t, text[7:20], FoldFatal(text[7:20]))
}

func TestFormatCrash(t *testing.T) {
	d := Dump{PID: 7, Workspace: "/src",
		Stacks: json.RawMessage(`[{"thread_name":"python","os_thread_id":7,"active":true,"frames":[
		{"name":"crate::f","filename":"src/lib.rs","line":2},{"name":"crate::f","filename":"src/lib.rs","line":2},{"name":"crate::f","filename":"src/lib.rs","line":2},{"name":"_PyEval_EvalFrameDefault"},{"name":"_PyObject_Call"},{"name":"main"}]}]`)}
	read := func(string) ([]byte, error) { return []byte("1\n2\n3\n"), nil }
	require.Equal(t, `/src/src/lib.rs:2
       1 | 1
  >    2 | 2
       3 | 3
thread 7 "python"
`+
		`    crate::f  /src/src/lib.rs:2
    ... 2 frames of the same function
    ... 2 frames of the interpreter
    main
`, d.Crash(read))
}

func TestFormatStacks(t *testing.T) {
	require.Equal(t, `thread 7 "MainThread", holds the GIL
    tiny::park::{closure}  /src/src/lib.rs:9
    std::thread::functions::park  /rustc/park.rs
    test_hangs  /src/tests/test_tiny.py:3
    ... 2 frames of pytest
    main  <unknown>
thread 8, idle
    pytest_pyfunc_call  _pytest/python.py:1
`, (Dump{PID: 7, Stacks: json.RawMessage(`[
		{"thread_name":"MainThread","os_thread_id":7,"active":true,"owns_gil":true,"frames":[
			{"name":"tiny::park::_$u7b$$u7b$closure$u7d$$u7d$::h4f6230125e64be56","filename":"/src/src/lib.rs","line":9},
			{"name":"_RNvNtNtCsll8UG4dV9RX_3std6thread9functions4park","filename":"/rustc/park.rs"},
			{"name":"test_hangs","filename":"/src/tests/test_tiny.py","line":3},
			{"name":"_multicall","filename":"/opt/venv/lib/python3.11/site-packages/pluggy/_execution.py","line":1},
			{"name":"run","filename":"/opt/pyo3test/agent/launch.py","line":1},
			{"name":"main","filename":"<unknown>"}]},
		{"os_thread_id":8,"frames":[{"name":"pytest_pyfunc_call","filename":"/opt/venv/lib/python3.11/site-packages/_pytest/python.py","line":1}]}]`)}).Format())

	require.Equal(t, "stacks of process 7 (py-spy: no): \n  in f\n",
		strings.Replace((Dump{PID: 7, Problem: "py-spy: no", Text: "  in f\n"}).Format(), ":\n", ": \n", 1))
	require.Equal(t, "stacks of process 7 could not be had: gone\n", (Dump{PID: 7, Problem: "gone"}).Format())
	require.Contains(t, (Dump{PID: 7, Stacks: json.RawMessage(`{"no":"list"}`)}).Format(), "could not be had")
}

// TestFormatMissing checks that a reader learns why native frames are missing, and is not bothered with the failure of one
// tool if another one has read them.
func TestFormatMissing(t *testing.T) {
	const python = `{"name":"test_a","filename":"/src/tests/test_a.py","line":3}`
	const native = `{"name":"pause","filename":"/lib/libc.so.6"}`
	const head = "thread 7, idle\n    test_a  /src/tests/test_a.py:3\n"
	for _, c := range []struct{ frames, problem, text, want string }{
		{frames: python, want: head},
		{frames: python, problem: "gdb: no answer in time",
			want: head + "the native frames could not be read (gdb: no answer in time)\n"},
		{frames: native + "," + python, problem: "py-spy: no",
			want: "thread 7, idle\n    pause  /lib/libc.so.6\n    test_a  /src/tests/test_a.py:3\n"},
		{frames: python, problem: "py-spy: no", text: "in f\n", want: head + "what else was seen (py-spy: no):\nin f\n"},
		{frames: python, text: "in f\n", want: head + "what else was seen:\nin f\n"},
	} {
		stacks := json.RawMessage(`[{"os_thread_id":7,"frames":[` + c.frames + `]}]`)
		require.Equal(t, c.want, (Dump{PID: 7, Stacks: stacks, Problem: c.problem, Text: c.text}).Format())
	}
}

// TestInlinedFrames checks that what Rust's library inlines into a lock is folded: a reader could take it for a panic.
func TestInlinedFrames(t *testing.T) {
	const library = "/usr/src/rustc-1.96.0/library/"
	require.Equal(t, `thread 7
    syscall
    std::sys::sync::mutex::futex::Mutex::lock_contended  library/std/src/sys/sync/mutex/futex.rs:115
    ... 2 frames of the runtime
    std::sync::poison::mutex::Mutex::lock  library/std/src/sync/poison/mutex.rs:500
    tiny::gil_mutex  /src/src/locks.rs:20
`, (Dump{PID: 7, Stacks: json.RawMessage(`[{"os_thread_id":7,"active":true,"frames":[
		{"name":"syscall"},
		{"name":"std::sys::sync::mutex::futex::Mutex::lock_contended",
		 "filename":"` + library + `std/src/sys/sync/mutex/futex.rs","line":115},
		{"name":"core::sync::atomic::atomic_load","filename":"` + library + `core/src/sync/atomic.rs","line":3},
		{"name":"std::thread::panicking","filename":"` + library + `std/src/thread/mod.rs","line":9},
		{"name":"std::sync::poison::mutex::Mutex<T>::lock",
		 "filename":"` + library + `std/src/sync/poison/mutex.rs","line":500},
		{"name":"tiny::gil_mutex","filename":"/src/src/locks.rs","line":20}]}]`)}).Format())
}
