package hang

import (
	"fmt"
	"slices"
	"strings"

	"pyo3test/harness/internal/layout"
)

// Key names a cause for programs and tests.
type Key string

// The causes that Diagnose distinguishes.
const (
	GILLockCycle         Key = "gil-lock-cycle"
	NativeLoopGIL        Key = "native-loop-gil"
	NativeLoop           Key = "native-loop"
	NativeWaitGIL        Key = "native-wait-gil"
	NativeWait           Key = "native-wait"
	InitialiserGIL       Key = "initialiser-gil"
	InitialiserReentrant Key = "initialiser-reentrant"
	LockReentrant        Key = "lock-reentrant"
	PythonLock           Key = "python-lock"
	PythonLoop           Key = "python-loop"
	PythonWait           Key = "python-wait"
	InheritedThroughFork Key = "inherited-through-fork"
	ChildProcess         Key = "child-process"
	Network              Key = "network"
	JoinGIL              Key = "join-gil"
	ExitDrop             Key = "exit-drop"
	ExitAtexit           Key = "exit-atexit"
	ExitThread           Key = "exit-thread"
	AttachFinalizing     Key = "attach-finalizing"
	StopTheWorld         Key = "stop-the-world"
	ForkBomb             Key = "fork-bomb"
	StoppedBySignal      Key = "stopped-by-signal"
	Unknown              Key = "unknown"
)

// titles name the causes in a few words, to follow the name of a test.
var titles = map[Key]string{
	GILLockCycle:         "cycle of the GIL and a lock",
	NativeLoopGIL:        "native code that holds the GIL and does not return",
	NativeLoop:           "native code that does not return",
	NativeWaitGIL:        "wait with the GIL held",
	NativeWait:           "wait in native code",
	InitialiserGIL:       "one-time initialiser that needs the GIL",
	InitialiserReentrant: "one-time initialiser that waits for itself",
	LockReentrant:        "lock taken twice by one thread",
	PythonLock:           "Python lock that no thread releases",
	PythonLoop:           "Python code that does not return",
	PythonWait:           "wait in Python",
	InheritedThroughFork: "lock or thread lost in the fork",
	ChildProcess:         "wait for another process",
	Network:              "wait for the network",
	JoinGIL:              "join of a thread that needs the GIL",
	ExitDrop:             "Drop that joins a thread that needs the GIL",
	ExitAtexit:           "exit handler that waits",
	ExitThread:           "thread that does not end at exit",
	AttachFinalizing:     "attach to an interpreter that is exiting",
	StopTheWorld:         "world that cannot be stopped",
	ForkBomb:             "too many processes",
	StoppedBySignal:      "process stopped by a signal",
	Unknown:              "no cause can be named",
}

// Title returns the cause in a few words, "" if there is none.
func (k Key) Title() string { return titles[k] }

// Circumstances holds what is known of a hang besides the process.
type Circumstances struct {
	AtExit        bool // the session is over and the interpreter is exiting
	Forked        bool // the process is a forked child
	ParentThreads int  // how many threads the parent had at the fork; 0 if unknown
}

// Cause is why a process is stuck.
type Cause struct {
	Key      Key
	Sentence string // what and why, in one sentence
	// Chain holds which thread waits for which, a line each; "inferred" marks what the dump does not show.
	Chain []string
	// File and Line are the culprit's place in the user's own code, zero if no frame is the user's.
	File string // in the container
	Line int
	Cure string // what helps against this cause, and why
}

// userFile reports whether a file is one of the user's own sources.
func userFile(name string) bool { return strings.HasPrefix(name, layout.Sources+"/") }

// Diagnose returns the cause, judged by what the threads do.
func (d Dump) Diagnose(c Circumstances) Cause {
	threads := d.threads()
	if len(threads) == 0 {
		return Cause{Key: Unknown, Sentence: "the cause is unknown: the threads could not be seen"}
	}
	k := newKnot(d.PID, threads)
	cause := k.cause(c)
	if cause.File == "" {
		cause.File, cause.Line = k.main.userFrame()
	}
	return cause
}

// knot holds the threads of a process and what they wait for.
type knot struct {
	threads []thread
	waits   []wait
	main    thread // the thread that runs the test
	mainAt  int    // its index
	holder  int    // the index of the thread that holds the GIL, -1 if none does
	wanting []int  // the indices of the threads that wait for the GIL
}

func newKnot(pid int, threads []thread) *knot {
	k := &knot{threads: threads, holder: -1}
	for i, t := range threads {
		w := t.waitsFor()
		k.waits = append(k.waits, w)
		if t.OwnsGIL {
			k.holder = i
		}
	}
	for i, w := range k.waits {
		if (w == forGIL || w == forNothing) && i != k.holder {
			k.wanting = append(k.wanting, i)
		}
	}
	k.mainAt = mainThread(pid, threads)
	k.main = threads[k.mainAt]
	return k
}

// mainThread returns the index of the thread that runs the tests: the process's first, whose id is the pid.
func mainThread(pid int, threads []thread) int {
	return max(0, slices.IndexFunc(threads, func(t thread) bool { return t.OSID == pid || t.Name == "MainThread" }))
}

// userFrame returns the file and line of a thread's innermost frame in the user's own code.
func (t thread) userFrame() (string, int) {
	for _, f := range t.Frames {
		if userFile(f.Filename) && f.Line > 0 {
			return f.Filename, f.Line
		}
	}
	return "", 0
}

// runsPytest reports whether pytest, or what starts it, is on a thread's stack.
func (t thread) runsPytest() bool {
	return slices.ContainsFunc(t.Frames, func(f frame) bool { return machinery.MatchString(f.Filename) })
}

// where returns a thread's innermost frame in the user's own code, as part of a sentence.
func (t thread) where() string {
	if file, line := t.userFrame(); file != "" {
		return fmt.Sprintf(" (%s:%d)", file, line)
	}
	return ""
}

func (k *knot) cause(c Circumstances) Cause {
	if cause, ok := k.stopTheWorld(); ok {
		return k.atExit(c, cause)
	}
	if k.holder >= 0 {
		if cause, ok := k.holderCause(c); ok {
			return k.atExit(c, cause)
		}
	}
	return k.atExit(c, k.mainCause(c))
}
