package hang

import (
	"regexp"
	"slices"
	"strings"
)

// wait is what a thread waits for.
type wait string

const (
	nothing     wait = ""
	forGIL      wait = "the GIL"
	forMutex    wait = "a Rust lock"
	forOnce     wait = "a one-time initialiser"
	forThread   wait = "the end of a thread"
	forChannel  wait = "a message of a channel"
	forRayon    wait = "rayon's workers"
	forTokio    wait = "a tokio runtime"
	forCondvar  wait = "a condition variable"
	forUnpark   wait = "another thread to unpark it"
	forPyLock   wait = "a Python lock"
	forPyThread wait = "a Python thread's end"
	forChild    wait = "a child process"
	forNetwork  wait = "the network"
	forFile     wait = "a file, a pipe or a socket"
	forTime     wait = "a while to pass"
	forCLock    wait = "a lock of C code"
	forLoop     wait = "an event of asyncio's loop"
	forSignal   wait = "a signal"
	forStop     wait = "all other threads to hold still"
	forWorld    wait = "the world to go on, which another thread stops"
	forNothing  wait = "nothing: it attached as the interpreter ended, and is held forever"
)

// waits maps functions, by their canonical paths, to what a thread in them waits for; the innermost frame that matches
// decides. The order matters only if several match one name.
var waits = []struct {
	functions *regexp.Regexp
	for_      wait
}{
	// CPython: https://github.com/python/cpython/blob/3.11/Python/ceval_gil.h and pystate.c
	// A thread that attaches as the interpreter ends is held forever, by PyO3 in park, and from 3.14 on by CPython in pause.
	{paths("**::HangThread::**", "PyThread_hang_thread", "_PyThreadState_HangThread"), forNothing},
	{paths("{take,drop}_gil", "**::PyEval_{RestoreThread,AcquireThread,AcquireLock}", "**::PyGILState_Ensure",
		"**::{_,}PyThreadState_{Attach,Swap}", "pyo3::gil::GILGuard::acquire*",
		"pyo3::internal::state::AttachGuard::*attach*"), forGIL},
	{paths("PyThread_acquire_lock{,_timed}", "{_,}acquire_timed", "lock_PyThread_acquire_lock", "rlock_acquire",
		"{_,}PyMutex_Lock*", "_PyParkingLot_Park", "_PySemaphore_Wait"), forPyLock},
	{paths("os_waitpid", "os_wait{,3,4}", "wait{,3,4,pid,id}", "std::{sys,process}::**::{Child,Process}::wait*"),
		forChild},
	{paths("recv{,from,msg,mmsg}", "accept{,4}", "connect", "send{,to,msg}", "getaddrinfo",
		"sock_{recv,accept,connect,send}*", "std::{net,sys::net}::**"), forNetwork},
	{paths("{,p}{poll,select}", "epoll_{,p}wait{,2}", "read{,v}", "pread{,64}", "write{,v}", "flock", "fcntl{,64}",
		"open{,at}{,64}", "mio::**"), forFile},
	{paths("{,clock_}nanosleep{,_time64}", "{u,py,}sleep", "time_sleep", "std::thread::**::sleep{,_until,_ms}"), forTime},
	{paths("pause", "{rt_,}sigsuspend"), forSignal},
	{paths("pthread_{join,timedjoin_np,clockjoin*}", "std::{thread,sys::thread,sys::**::thread}::**::join"), forThread},
	{paths("{std::sync::mpsc,std::sync::mpmc,crossbeam_channel,crossbeam::channel,flume,kanal,async_channel}::**::" +
		"{*recv*,*send*,Receiver,Sender,wait_until}::**"), forChannel},
	{rayonFrames, forRayon},
	{paths("tokio::**"), forTokio},
	{paths("std::{sys,sys_common,sync}::**::once::**::{wait*,call*}::**", "std::sync::{once_lock,lazy_lock}::**",
		"{parking_lot::once,once_cell}::**::{call_once*,initialize*,wait*}::**", "**::LazyLock::force::**"), forOnce},
	{paths("**::*Mutex::lock{,_contended,_slow}", "**::*RwLock::{read,write,lock_*}{,_contended,_slow}",
		"parking_lot::raw_*::**", "lock_api::**", "std::sync::reentrant*::**"), forMutex},
	{paths("**::*ondvar::wait*::**"), forCondvar},
	{paths("std::thread::**::park{,_timeout}", "std::{sys,sys_common}::**::Parker::park*"), forUnpark},
	{paths("pthread_mutex_{lock,timedlock,clocklock}*", "lll_lock_wait*", "lock_wait*", "pthread_rwlock_*",
		"pthread_spin_lock"), forCLock},
	{paths(generalWaits...), forCondvar},
}

// generalWaits are functions of C that show a wait but not for what: the locks and queues of other code are made of them.
var generalWaits = []string{"pthread_cond_{,timed,clock}wait*", "sem_{,timed,clock}wait*", "pthread_barrier_wait"}

// attachFrames match the functions in which a thread attaches to a free-threaded interpreter.
var attachFrames = paths("{_,}PyThreadState_{Attach,Suspend}", "tstate_wait_attach", "**::PyEval_{RestoreThread,AcquireThread}")

// generic matches functions that many waits go through, so that their callers decide.
var generic = paths(append(generalWaits, "do_sem_*wait*", "futex*", "lll_*")...)

// waitsFor returns what a thread waits for. The callers of the user's own native code do not count: that code is
// running.
func (t thread) waitsFor() wait {
	if t.Wait.StopsWorld { // it runs for a moment each millisecond
		return forStop
	}
	if len(t.Frames) == 0 || t.Frames[0].native() && t.Active && !system.MatchString(t.Frames[0].Filename) {
		return nothing
	}
	named := t.namedWait()
	// While the world is stopped, every detached thread is suspended, whatever it waits for.
	if t.Wait.State == "suspended" && (named == nothing || t.inside(attachFrames) > 0) {
		return forWorld
	}
	if unspecific := named == nothing || named == forCondvar || named == forPyLock; unspecific && t.Wait.WantsGIL && !t.OwnsGIL {
		return forGIL
	}
	return named
}

// namedWait returns what a thread waits for by the names of its functions.
func (t thread) namedWait() wait {
	general := nothing
	for i, f := range t.Frames {
		if userFile(f.Filename) && f.native() {
			break
		}
		if !f.native() {
			switch {
			case i > 0 && t.Frames[i-1].Name == "pthread_cond_timedwait":
				return forGIL // the evaluation loop waits this way for nothing else
			case i > 0 && general == nothing && t.Wait.Call == "futex" && t.interpreterAbove(i) && t.namelessAbove(i):
				general = forPyLock
			}
			return pythonWait(t.Frames[i:], general)
		}
		switch w := waitIn(f); {
		case w == nothing:
		case !generic.MatchString(libcName(f.Name)):
			return refine(t.Frames[i:], w)
		case general == nothing:
			general = w // its caller may be more specific
		}
	}
	return general
}

// system matches the libraries in which a thread sleeps.
var system = regexp.MustCompile(`/(libc|ld|libpthread)[-.][^/]*$`)

// python matches the files of CPython itself.
var python = regexp.MustCompile(`/(lib)?python3[^/]*$|/lib-dynload/[^/]*$`)

// interpreterAbove reports whether all frames inside the one with an index are CPython's or the C library's.
func (t thread) interpreterAbove(index int) bool {
	return !slices.ContainsFunc(t.Frames[:index], func(f frame) bool {
		return !system.MatchString(f.Filename) && !python.MatchString(f.Filename) &&
			!(f.Filename == "" && program.MatchString(f.Name))
	})
}

// program matches functions of the program itself, which is CPython. gdb names no file for them.
var program = regexp.MustCompile(`^(_?Py|_start$|main$)`)

// namelessAbove reports whether no frame inside the one with an index has the name of a function that could wait itself.
func (t thread) namelessAbove(index int) bool {
	return !slices.ContainsFunc(t.Frames[:index], func(f frame) bool {
		return !strings.HasPrefix(f.Name, "0x") && !generic.MatchString(libcName(f.Name)) && !strings.HasPrefix(f.Name, "clone")
	})
}

// showsPyLock reports whether a frame shows that a thread waits for a lock of Python's.
func (t thread) showsPyLock() bool {
	return slices.ContainsFunc(t.Frames, func(f frame) bool {
		return f.native() && waitIn(f) == forPyLock || inQueue.MatchString(f.Filename)
	})
}

// runsPython reports whether the innermost frame outside CPython and the C library is one of Python code.
func (t thread) runsPython() bool {
	at := slices.IndexFunc(t.Frames, func(f frame) bool { return !f.native() })
	return at >= 0 && t.interpreterAbove(at)
}

func waitIn(f frame) wait {
	name := libcName(f.Name)
	for _, known := range waits {
		if known.functions.MatchString(name) {
			return known.for_
		}
	}
	return nothing
}

// libcName returns the public name of a function of the C library: pthread_mutex_lock for ___pthread_mutex_lock.
func libcName(name string) string { return libcPrefix.ReplaceAllString(name, "") }

var libcPrefix = regexp.MustCompile(`^__+(GI_+|libc_|new_)*|^_libc_`)

// Files and functions of Python's standard library that show what a wait is for.
var (
	inAsyncio         = regexp.MustCompile(`/asyncio/\w+\.py$`)
	inMultiprocessing = regexp.MustCompile(`/multiprocessing/\w+\.py$`)
	inSubprocess      = regexp.MustCompile(`/subprocess\.py$`)
	inSelectors       = regexp.MustCompile(`/selectors\.py$`)
	inSockets         = regexp.MustCompile(`/(socket|ssl|asyncore|socketserver)\.py$`)
	inThreading       = regexp.MustCompile(`/threading\.py$`)
	inQueue           = regexp.MustCompile(`/(threading|queue)\.py$`)
	threadEnds        = regexp.MustCompile(`(^|\.)(join|_wait_for_tstate_lock|_shutdown)$`)
)

// refine narrows a wait down by the callers of the function that waits.
func refine(frames []frame, w wait) wait {
	switch w {
	case forFile, forPyLock:
		if w == forPyLock && endsThread(frames) && !anyIn(frames, inMultiprocessing) {
			return forPyThread
		}
		if around := purpose(frames); around != nothing && (w == forFile || around == forChild) {
			return around
		}
	case forSignal, forUnpark, forCondvar, forMutex: // queues, pools and runtimes wait through these
		for _, f := range frames {
			if userFile(f.Filename) || !f.native() {
				break
			}
			switch around := waitIn(f); around {
			case forChannel, forRayon, forTokio, forOnce, forThread, forNothing:
				return around
			case forGIL:
				if w == forSignal || w == forUnpark { // the GIL itself is waited for by other means
					return forNothing
				}
			}
		}
	}
	return w
}

// purpose returns what a wait is for by the module of Python's library that began it, or nothing. All of them use selectors;
// a selector by itself waits for sockets.
func purpose(frames []frame) wait {
	found := nothing
	for _, f := range frames {
		switch {
		case userFile(f.Filename):
			return found
		case inSelectors.MatchString(f.Filename):
			found = forNetwork
		case inAsyncio.MatchString(f.Filename):
			return forLoop
		case inSubprocess.MatchString(f.Filename), inMultiprocessing.MatchString(f.Filename):
			return forChild
		case inSockets.MatchString(f.Filename):
			return forNetwork
		}
	}
	return found
}

// pythonWait returns what a thread waits for, judged by its Python frames alone: its native frames did not show it.
func pythonWait(frames []frame, general wait) wait {
	innermost := frames[:1]
	switch {
	case anyIn(innermost, inQueue):
		return refine(frames, forPyLock)
	case anyIn(innermost, inSelectors), anyIn(innermost, inSockets), anyIn(innermost, inSubprocess),
		anyIn(innermost, inMultiprocessing):
		return purpose(frames)
	}
	return refine(frames, general)
}

func anyIn(frames []frame, files *regexp.Regexp) bool {
	return slices.ContainsFunc(frames, func(f frame) bool { return files.MatchString(f.Filename) })
}

// endsThread reports whether threading waits for a thread's end.
func endsThread(frames []frame) bool {
	return slices.ContainsFunc(frames, func(f frame) bool {
		return threadEnds.MatchString(f.Name) && inThreading.MatchString(f.Filename)
	})
}

// ofThreads reports whether a wait is for something that a thread of the same process can provide.
func (w wait) ofThreads() bool {
	switch w {
	case nothing, forChild, forNetwork, forFile, forTime, forLoop, forSignal:
		return false
	}
	return true
}

// insideNative is inside, without frames of Python code.
func (t thread) insideNative(functions *regexp.Regexp) int {
	t.Frames = slices.DeleteFunc(slices.Clone(t.Frames), func(f frame) bool { return !f.native() })
	return t.inside(functions)
}

// inside returns how many of the thread's frames are in a function that matches.
func (t thread) inside(functions *regexp.Regexp) int {
	count := 0
	for _, f := range t.Frames {
		if functions.MatchString(f.Name) {
			count++
		}
	}
	return count
}
