package hang

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCauses: dumps of real processes, each made to hang in its way, without pytest's own frames.
func TestCauses(t *testing.T) {
	forked := Circumstances{Forked: true, ParentThreads: 1}
	for name, c := range map[string]struct {
		circumstances Circumstances
		key           Key
		place         string // of the culprit
		chain         []string
	}{
		"gil-mutex":      {forked, GILLockCycle, "/src/src/lib.rs:27", []string{`thread 17 "MainThread" waits for a Rust lock, held by thread 19 (inferred: Rust locks record no owner)`, `thread 19 waits for the GIL, held by thread 17 "MainThread"`}},
		"gil-spin":       {forked, NativeLoopGIL, "/src/src/lib.rs:36", nil},
		"native-park":    {forked, NativeWait, "/src/src/lib.rs:42", nil},
		"park-gil":       {forked, NativeWaitGIL, "/src/src/lib.rs:47", nil},
		"lazy-gil":       {forked, InitialiserGIL, "/src/src/lib.rs:54", nil},
		"lazy-reentrant": {forked, InitialiserReentrant, "/src/src/lib.rs:12", nil},
		"once-reentrant": {forked, InitialiserReentrant, "/src/src/lib.rs:61", nil},
		"join-gil":       {forked, JoinGIL, "/src/src/lib.rs:66", nil},
		"channel-gil":    {forked, GILLockCycle, "/src/src/lib.rs:85", nil},
		"relock":         {forked, LockReentrant, "/src/src/lib.rs:91", nil},
		"drop-join":      {forked, ExitDrop, "/src/src/lib.rs:78", nil},
		"py-lock":        {forked, PythonLock, "/src/tests/test_hz.py:9", nil},
		"child":          {forked, ChildProcess, "/src/tests/test_hz.py:11", nil},
		"network":        {forked, Network, "/src/tests/test_hz.py:13", nil},
		"py-thread":      {forked, PythonWait, "/src/tests/test_hz.py:15", nil},
	} {
		t.Run(name, func(t *testing.T) {
			stacks, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			require.NoError(t, err)
			dump := Dump{PID: 7, Stacks: stacks}
			cause := dump.Diagnose(c.circumstances)
			text := Report{Dump: dump, Cause: cause}.Short(os.ReadFile)
			require.Equal(t, c.key, cause.Key, text)
			require.Contains(t, text, "\n"+c.place+"\n")
			for _, line := range c.chain {
				require.Contains(t, text, line)
			}
		})
	}
	all, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.Len(t, all, 15, strings.Join(all, " "))
}
