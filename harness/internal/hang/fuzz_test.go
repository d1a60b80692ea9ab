package hang

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzDump: whatever a tool reports, there is a cause, if only unknown, and a sentence for it.
func FuzzDump(f *testing.F) {
	f.Add([]byte(`[{"thread_name":"MainThread","os_thread_id":7,"active":true,"owns_gil":true,"frames":[{"name":"std::sys::sync::mutex::futex::Mutex::lock_contended","filename":"a"},{"name":"f","filename":"src/lib.rs","line":3}]},`+
		`{"os_thread_id":8,"frames":[{"name":"PyEval_RestoreThread","filename":"/usr/bin/python3.11"}]}]`), true, true,
		2)
	f.Add([]byte(`[{"frames":null},{}]`), false, false, 0)
	f.Add([]byte(`{}`), false, true, -1)
	f.Add([]byte(`[{"owns_gil":true,"frames":[{"name":"wait4"},{"filename":"/usr/lib/python3.11/subprocess.py"}]}]`),
		true, false, 1)
	f.Fuzz(func(t *testing.T, stacks []byte, atExit, forked bool, parents int) {
		dump := Dump{PID: 7, Stacks: json.RawMessage(stacks)}
		cause := dump.Diagnose(Circumstances{AtExit: atExit, Forked: forked, ParentThreads: parents})
		require.NotEmpty(t, cause.Key)
		require.NotEmpty(t, cause.Sentence)
		require.Contains(t, Report{Dump: dump, Cause: cause}.Whole(os.ReadFile), cause.Sentence)
	})
}
