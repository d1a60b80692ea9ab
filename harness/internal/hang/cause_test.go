package hang

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCauses diagnoses dumps of real processes, some from pytests/hangs, each hung in its own way. They leave out
// pytest's own frames.
func TestCauses(t *testing.T) {
	forked, atExit := Circumstances{Forked: true, ParentThreads: 1}, Circumstances{AtExit: true}
	cases := map[string]struct {
		seen  Circumstances
		key   Key
		place string // of the culprit, "" if none is in the user's code
		chain []string
	}{
		"asyncio-future":   {forked, PythonWait, "tests/test_waits.py:39", nil},
		"callback":         {forked, NativeWait, "src/threads.rs:70", nil},
		"channel-full":     {forked, GILLockCycle, "src/channels.rs:26", nil},
		"child-output":     {forked, ChildProcess, "tests/test_processes.py:33", nil},
		"child-process":    {forked, ChildProcess, "tests/test_processes.py:28", nil},
		"collection":       {Circumstances{}, NativeWait, "src/waits.rs:21", nil},
		"deaf":             {forked, NativeWait, "src/waits.rs:21", nil},
		"drop-join":        {forked, ExitDrop, "src/threads.rs:37", nil},
		"exit-atexit-join": {atExit, ExitAtexit, "src/exits.rs:87", nil},
		"exit-atexit":      {atExit, ExitAtexit, "src/waits.rs:21", nil},
		"exit-drop": {atExit, ExitDrop, "src/exits.rs:59", []string{
			"thread 16 waits for the end of a thread, which thread 19 would have to provide (inferred)",
			"thread 19 waits for an interpreter that is ending",
		}},
		"exit-thread": {atExit, ExitThread, "", nil},
		"fork-mutex":  {Circumstances{Forked: true, ParentThreads: 2}, InheritedThroughFork, "src/forks.rs:34", nil},
		"fork-rayon":  {forked, InheritedThroughFork, "src/forks.rs:40", nil},
		"fork-tokio":  {forked, InheritedThroughFork, "src/forks.rs:46", nil},
		"gil-mutex": {forked, GILLockCycle, "src/locks.rs:20", []string{
			`thread 81 "MainThread" waits for a Rust lock, held by thread 83 (inferred: Rust locks record no owner)`,
			`thread 83 waits for the GIL, held by thread 81 "MainThread"`,
		}},
		"gil-parking-lot":       {forked, GILLockCycle, "src/locks.rs:34", nil},
		"gil-spin":              {forked, NativeLoopGIL, "src/waits.rs:12", nil},
		"import-lock":           {forked, PythonWait, "tests/test_initialisers.py:31", nil},
		"import":                {Circumstances{}, NativeWaitGIL, "src/lib.rs:49", nil},
		"join-attached":         {forked, JoinGIL, "src/threads.rs:45", nil},
		"lazy-gil":              {forked, InitialiserGIL, "src/initialisers.rs:18", nil},
		"lazy-reentrant":        {forked, InitialiserReentrant, "src/initialisers.rs:30", nil},
		"legacy-drop-join":      {forked, ExitDrop, "src/lib.rs:99", nil},
		"legacy-gil-mutex":      {forked, GILLockCycle, "src/lib.rs:21", nil},
		"legacy-once-gil":       {forked, InitialiserGIL, "src/lib.rs:60", nil},
		"log-bridge":            {forked, JoinGIL, "src/threads.rs:60", nil},
		"multiprocessing-pool":  {forked, ChildProcess, "tests/test_processes.py:23", nil},
		"multiprocessing":       {forked, ChildProcess, "tests/test_processes.py:17", nil},
		"native-park-attached":  {forked, NativeWaitGIL, "src/waits.rs:30", nil},
		"native-park":           {forked, NativeWait, "src/waits.rs:21", nil},
		"native-sleep-attached": {forked, NativeWaitGIL, "src/waits.rs:35", nil},
		"network-accept":        {forked, Network, "tests/test_processes.py:38", nil},
		"network-recv":          {forked, Network, "tests/test_processes.py:43", nil},
		"py-join":               {forked, PythonWait, "tests/test_locks.py:44", nil},
		"py-lock-order":         {forked, PythonLock, "tests/test_locks.py:38", nil},
		"py-lock":               {forked, PythonLock, "tests/test_locks.py:23", nil},
		"python-loop":           {forked, PythonLoop, "tests/test_waits.py:32", nil},
		"rayon-reentry":         {forked, GILLockCycle, "src/pools.rs:8", nil},
		"recv-attached":         {forked, GILLockCycle, "src/channels.rs:13", nil},
		"relock":                {forked, LockReentrant, "src/lib.rs:91", nil},
		"session-fixture":       {forked, NativeWait, "src/waits.rs:21", nil},
		"set-up":                {forked, NativeWait, "src/waits.rs:21", nil},
		"tear-down":             {forked, NativeWait, "src/waits.rs:21", nil},
		"tokio-block-on":        {forked, GILLockCycle, "src/pools.rs:25", nil},

		// CPython 3.14 and rustc 1.97 with v0 symbols
		"3.14-drop-join": {forked, ExitDrop, "src/threads.rs:37", []string{
			`thread 7 "MainThread" waits for the end of thread 71`,
			`thread 71 waits for the GIL, held by thread 7 "MainThread"`,
		}},
		"3.14-exit-c-atexit": {atExit, ExitAtexit, "", nil},
		"3.14-exit-drop":     {atExit, ExitDrop, "src/exits.rs:65", nil},
		"3.14-exit-join":     {atExit, AttachFinalizing, "src/exits.rs:85", nil},
		"3.14-fork-py-lock": {Circumstances{Forked: true, ParentThreads: 2}, InheritedThroughFork, "tests/test_forks.py:35",
			nil},
		"3.14-gil-mutex":      {forked, GILLockCycle, "src/locks.rs:20", nil},
		"3.14-lazy-reentrant": {forked, InitialiserReentrant, "src/initialisers.rs:30", nil},
		"3.14-lock-across-callback": {forked, GILLockCycle, "src/locks.rs:41", []string{
			`thread 7 "MainThread" waits for a Rust lock, held by thread 28 "Thread-1 (call_locked)" (inferred: Rust locks record no owner)`,
			`thread 28 "Thread-1 (call_locked)" waits for the GIL, held by thread 7 "MainThread"`,
		}},
		"3.14-multiprocessing":      {forked, ChildProcess, "tests/test_processes.py:17", nil},
		"3.14-multiprocessing-pool": {forked, ChildProcess, "tests/test_processes.py:23", nil},
		"3.14-py-lock":              {forked, PythonLock, "tests/test_locks.py:45", nil},
		"3.14-python-loop":          {forked, PythonLoop, "tests/test_waits.py:32", nil},
		"3.14-recv-attached":        {forked, GILLockCycle, "src/channels.rs:13", nil},

		// CPython 3.14, free-threaded, seen by gdb and by the agent
		"3.14t-gil-spin":             {forked, NativeLoop, "src/waits.rs:12", nil},
		"3.14t-native-park-attached": {forked, NativeWait, "src/waits.rs:30", nil},
		"3.14t-py-lock-order":        {forked, PythonLock, "tests/test_locks.py:64", nil},
		"3.14t-python-loop":          {forked, PythonLoop, "tests/test_waits.py:32", nil},
		"3.14t-rust-lock-order": {forked, NativeWait, "src/locks.rs:69", []string{
			`thread 35 "python" waits for a Rust lock (/src/src/locks.rs:64)`,
			`thread 34 "python" waits for a Rust lock (/src/src/locks.rs:64)`,
		}},
		"3.14t-stop-the-world": {forked, StopTheWorld, "src/locks.rs:83", []string{
			`thread 7 "MainThread" waits for thread 44 "python" to detach`,
			`thread 44 "python" waits for a Rust lock, held by thread 7 "MainThread" (inferred)`,
		}},
	}
	all, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.Len(t, all, len(cases))
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			stacks, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			require.NoError(t, err)
			cause := Dump{PID: 7, Stacks: stacks, Workspace: "/src"}.Diagnose(c.seen)
			require.Equal(t, c.key, cause.Key, cause.Sentence)
			place := ""
			if cause.File != "" {
				place = fmt.Sprintf("%s:%d", strings.TrimPrefix(cause.File, "/src/"), cause.Line)
			}
			require.Equal(t, c.place, place)
			require.Contains(t, cause.Sentence, "thread ")
			if c.chain != nil {
				require.Equal(t, c.chain, cause.Chain)
			}
		})
	}
}

// TestUnmergedFrames: gdb names no file for the functions of the program, and Python's frames follow all native ones.
func TestUnmergedFrames(t *testing.T) {
	libc := frame{Name: "__libc_start_main", Filename: "/usr/lib/x86_64-linux-gnu/libc.so.6"}
	python := frame{Name: "test_loop", Filename: "/src/tests/test_a.py", Line: 32}
	for name, c := range map[string]struct {
		native []frame
		key    Key
	}{
		"the interpreter": {[]frame{{Name: "_PyObject_MakeTpCall"}, {Name: "PyObject_Vectorcall"}, libc, {Name: "_start"}}, PythonLoop},
		"native code": {[]frame{{Name: "mine::spin", Filename: "/src/src/lib.rs", Line: 3}, {Name: "PyObject_Vectorcall"}, libc, {Name: "_start"}},
			NativeLoopGIL},
		"a function of no known file": {[]frame{{Name: "spin"}, {Name: "PyObject_Vectorcall"}, libc, {Name: "_start"}}, NativeLoopGIL},
	} {
		stacks, err := json.Marshal([]thread{{OSID: 7, Name: "MainThread", Active: true, OwnsGIL: true, Frames: append(c.native, python)}})
		require.NoError(t, err)
		require.Equal(t, c.key, Dump{PID: 7, Stacks: stacks}.Diagnose(Circumstances{}).Key, name)
	}
}

// TestPythonThreadsInNativeCode: the main thread joins two threads of Python's, each of which waits for a lock in Rust.
func TestPythonThreadsInNativeCode(t *testing.T) {
	python := func(line int) frame { return frame{Name: "pay", Filename: "/src/tests/test_a.py", Line: line} }
	wait := frame{Name: "syscall", Filename: "/usr/lib/x86_64-linux-gnu/libc.so.6"}
	lock := frame{Name: "std::sys::sync::mutex::futex::Mutex::lock_contended", Filename: "library/std/src/sys/sync/mutex/futex.rs"}
	blocked := func(id int) thread {
		return thread{OSID: id, Name: fmt.Sprint("Thread-", id-7),
			Frames: []frame{wait, lock, {Name: "bank::transfer", Filename: "/src/src/lib.rs", Line: 90 + id}, python(44)}}
	}
	join := frame{Name: "Thread.join", Filename: "/usr/lib/python3.11/threading.py", Line: 1112}
	main := thread{OSID: 7, Name: "MainThread", Frames: []frame{{Name: "PyThread_acquire_lock_timed", Filename: "/usr/bin/python3.11"}, join, python(18)}}
	diagnose := func(threads ...thread) Cause {
		stacks, err := json.Marshal(threads)
		require.NoError(t, err)
		return Dump{PID: 7, Stacks: stacks}.Diagnose(Circumstances{})
	}
	cause := diagnose(main, blocked(8), blocked(9))
	require.Equal(t, NativeWait, cause.Key, cause.Sentence)
	require.Equal(t, "/src/src/lib.rs:98", fmt.Sprintf("%s:%d", cause.File, cause.Line))
	require.Contains(t, cause.Sentence, `for another Python thread, and thread 8 "Thread-1" waits in native code (/src/src/lib.rs:98) for a Rust lock`)
	require.Equal(t, []string{`thread 8 "Thread-1" waits for a Rust lock (/src/src/lib.rs:98)`,
		`thread 9 "Thread-2" waits for a Rust lock (/src/src/lib.rs:99)`}, cause.Chain)

	asleep := thread{OSID: 8, Name: "Thread-1", Frames: []frame{{Name: "time_sleep", Filename: "/usr/bin/python3.11"}, python(44)}}
	require.Equal(t, PythonWait, diagnose(main, asleep).Key)
	idle := blocked(8)
	idle.Frames[1].Name = "std::sync::mpmc::list::Channel<T>::recv"
	require.Equal(t, PythonWait, diagnose(main, idle).Key, "a worker that waits for work")
}

// TestKernelWaits: what the kernel shows names the right thread, and is not believed of a thread that has run since.
func TestKernelWaits(t *testing.T) {
	python := frame{Name: "test_a", Filename: "/src/tests/test_a.py", Line: 3}
	library := func(name string) frame { return frame{Name: name, Filename: "/usr/lib/x86_64-linux-gnu/libc.so.6"} }
	user := frame{Name: "mine::close", Filename: "/src/src/lib.rs", Line: 9}
	join := frame{Name: "std::thread::JoinInner::join", Filename: "/rustc/library/std/src/thread/mod.rs"}
	attach := frame{Name: "PyGILState_Ensure"}
	waits := func(joins int, gil bool) kernelWait { return kernelWait{Call: "futex", Joins: joins, WantsGIL: gil} }
	busy := thread{OSID: 7, Name: "MainThread", Active: true, OwnsGIL: true, Frames: []frame{library("0x1"), python},
		Wait: waits(0, true)}
	joining := thread{OSID: 7, Name: "MainThread", OwnsGIL: true, Frames: []frame{join, user, python}, Wait: waits(9, false)}
	receives := thread{OSID: 9, Frames: []frame{library("recv"), {Name: "mine::work", Filename: "/src/src/net.rs", Line: 4}}}
	wants := thread{OSID: 8, Name: "Thread-1", Frames: []frame{library("0x1"), python}, Wait: waits(0, true)}
	held := thread{OSID: 8, Frames: []frame{library("pause"), attach}, Wait: kernelWait{Call: "pause"}}
	for name, c := range map[string]struct {
		threads []thread
		seen    Circumstances
		key     Key
		says    string
	}{
		"a thread that has run since":   {[]thread{busy, wants}, Circumstances{}, PythonLoop, "still runs Python code"},
		"the thread that is joined":     {[]thread{joining, wants, receives}, Circumstances{}, NativeWaitGIL, "waits for the end of thread 9 "},
		"the thread that wants the GIL": {[]thread{joining, {OSID: 9, Frames: []frame{attach}}}, Circumstances{}, JoinGIL, "thread 9 waits for the GIL"},
		"a signal, with the GIL": {[]thread{{OSID: 7, OwnsGIL: true, Frames: []frame{library("pause"), python}}, wants}, Circumstances{},
			NativeWaitGIL, "holds the GIL and waits for a signal"},
		"a child, beside a thread that is held": {[]thread{{OSID: 7, Frames: []frame{library("wait4"), user}}, held},
			Circumstances{AtExit: true}, ExitAtexit, "for a child process"},
		"a lock, beside a thread that is held": {[]thread{{OSID: 7, Frames: []frame{library("pthread_mutex_lock"), user}}, held},
			Circumstances{AtExit: true}, AttachFinalizing, "attached as the interpreter ended"},
		"a thread, beside another that is held": {[]thread{{OSID: 7, Frames: []frame{join, user}, Wait: waits(9, false)}, receives, held},
			Circumstances{AtExit: true}, ExitAtexit, "for the end of a thread"},
		"a lock without a name": {[]thread{{OSID: 7, Frames: []frame{library("0x1"), library("0x2"), python}, Wait: waits(0, false)}},
			Circumstances{}, PythonLock, "(inferred: the interpreter's functions have no names)"},
		"a function of the C library": {[]thread{{OSID: 7, Frames: []frame{library("0x1"), library("dlopen"), python}, Wait: waits(0, false)}},
			Circumstances{}, Unknown, "no known pattern"},
		"a loop without a GIL": {[]thread{{OSID: 7, Active: true, Frames: []frame{user}, Wait: kernelWait{State: "attached"}}}, Circumstances{},
			NativeLoop, "is attached and runs native code (/src/src/lib.rs:9) that does not return: it is slow"},
		"a world that goes on": {[]thread{
			{OSID: 7, Frames: []frame{library("sem_wait"), {Name: "PyEval_RestoreThread"}, user}, Wait: kernelWait{Call: "futex", State: "suspended"}},
			{OSID: 8, Active: true, Frames: []frame{library("sem_clockwait")}, Wait: kernelWait{State: "attached", StopsWorld: true}}},
			Circumstances{}, Unknown, "waits (/src/src/lib.rs:9) for the world to go on, which another thread stops"},
		"a wait of its own, in a world that is stopped": {[]thread{
			{OSID: 7, Frames: []frame{join, user}, Wait: kernelWait{Call: "futex", State: "suspended"}}},
			Circumstances{}, NativeWait, "waits natively (/src/src/lib.rs:9) for the end of a thread"},
		"Python code that soon holds still": {[]thread{
			{OSID: 7, Wait: kernelWait{State: "attached", StopsWorld: true}}, {OSID: 8, Active: true, Frames: []frame{python}, Wait: kernelWait{State: "attached"}}},
			Circumstances{}, NativeWait, "for all other threads to hold still"},
		"native code that does not": {[]thread{
			{OSID: 7, Wait: kernelWait{State: "attached", StopsWorld: true}}, {OSID: 8, Active: true, Frames: []frame{user}, Wait: kernelWait{State: "attached"}}},
			Circumstances{AtExit: true}, StopTheWorld, "the interpreter is ending, and thread 7 stops the world and waits until no other thread is attached, and " +
				"thread 8 is attached and runs native code (/src/src/lib.rs:9) that does not return"},
		"no native frames": {[]thread{{OSID: 7, Frames: []frame{python}, Wait: waits(0, false)}}, Circumstances{}, Unknown, "no known pattern"},
		"drop, in Python": {[]thread{{OSID: 7, OwnsGIL: true, Frames: []frame{join, user, {Name: "drop", Filename: "/src/tests/test_a.py"}}},
			{OSID: 9, Frames: []frame{attach}}}, Circumstances{}, JoinGIL, "joins"},
	} {
		t.Run(name, func(t *testing.T) {
			stacks, err := json.Marshal(c.threads)
			require.NoError(t, err)
			cause := Dump{PID: 7, Stacks: stacks, Workspace: "/src"}.Diagnose(c.seen)
			require.Equal(t, c.key, cause.Key, cause.Sentence)
			require.Contains(t, cause.Sentence, c.says)
		})
	}
}

// TestWhatRunsDoesNotWait: a thread that computes in a call from a pool, a lock or a runtime does not wait for it.
func TestWhatRunsDoesNotWait(t *testing.T) {
	rayon := frame{Name: "rayon_core::registry::WorkerThread::wait_until_cold",
		Filename: "/registry/src/index/rayon-core-1.13.0/src/registry.rs", Line: 1}
	futex := frame{Name: "syscall", Filename: "/usr/lib/x86_64-linux-gnu/libc.so.6"}
	user := frame{Name: "mine::work", Filename: "/src/src/lib.rs", Line: 3}
	other := frame{Name: "serde::de::work", Filename: "/registry/src/index/serde-1.0.0/src/de.rs", Line: 3}
	for name, c := range map[string]struct {
		active bool
		frames []frame
		want   wait
	}{
		"the user's code":              {true, []frame{user, rayon}, nothing},
		"the user's code, as it stops": {false, []frame{user, rayon}, nothing},
		"a library's code":             {true, []frame{other, rayon}, nothing},
		"a pool":                       {false, []frame{futex, rayon, user}, forRayon},
		"a pool, seen as it wakes":     {true, []frame{futex, rayon, user}, forRayon},
		"a system call of the user's":  {false, []frame{futex, user, rayon}, nothing},
		"nothing at all":               {false, nil, nothing},
	} {
		require.Equal(t, c.want, thread{Active: c.active, Frames: c.frames}.waitsFor(), name)
	}
}

// TestOwnerInAStoppedWorld: a bystander that stops the world is not blamed for a lock that another thread has.
func TestOwnerInAStoppedWorld(t *testing.T) {
	user := frame{Name: "mine::close", Filename: "/src/src/lib.rs", Line: 9}
	lock := frame{Name: "std::sys::sync::mutex::futex::Mutex::lock_contended", Filename: "/rustc/library/std/src/sys/sync/mutex/futex.rs"}
	stopper := thread{OSID: 7, Wait: kernelWait{State: "attached", StopsWorld: true}}
	keeper := thread{OSID: 8, Frames: []frame{lock, user}, Wait: kernelWait{Call: "futex", State: "attached"}}
	holder := thread{OSID: 9, Frames: []frame{{Name: "PyEval_RestoreThread"}, user}, Wait: kernelWait{Call: "futex", State: "suspended"}}
	other := thread{OSID: 10, Active: true, Frames: []frame{user}, Wait: kernelWait{State: "attached"}}
	joins := keeper
	joins.Frames, joins.Wait.Joins = []frame{{Name: "std::thread::JoinInner::join"}, user}, 9
	for name, c := range map[string]struct {
		threads []thread
		last    string
	}{
		"the one that stops it": {[]thread{stopper, keeper}, "thread 8 waits for a Rust lock, held by thread 7 (inferred)"},
		"one that waits for it": {[]thread{stopper, other, keeper, holder}, "thread 8 waits for a Rust lock, held by thread 9 (inferred)"},
		"one that is joined":    {[]thread{stopper, joins, holder}, "thread 8 waits for the end of thread 9"},
	} {
		stacks, err := json.Marshal(c.threads)
		require.NoError(t, err)
		cause := Dump{PID: 7, Stacks: stacks, Workspace: "/src"}.Diagnose(Circumstances{})
		require.Equal(t, StopTheWorld, cause.Key, name)
		require.Equal(t, []string{"thread 7 waits for thread 8 to detach", c.last}, cause.Chain, name)
	}
}
