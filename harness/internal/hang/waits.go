package hang

import (
	"regexp"
	"slices"
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
	forNothing  wait = "nothing: it attached as the interpreter ended, and is held forever"
)

// waits maps functions to what a thread in them waits for; the innermost frame that matches decides. The order matters
// only if several match one name.
var waits = []struct {
	functions *regexp.Regexp
	for_      wait
}{
	// CPython: https://github.com/python/cpython/blob/3.11/Python/ceval_gil.h and pystate.c
	{regexp.MustCompile(`(^|::)(take_gil|PyEval_(RestoreThread|AcquireThread|AcquireLock)|PyGILState_Ensure|_PyThreadState_Attach|PyThreadState_(Attach|Swap))$`), forGIL},
	{regexp.MustCompile(`^pyo3::(gil::GILGuard::acquire\w*|internal::state::AttachGuard::\w*attach\w*)$`), forGIL},
	// A thread that attaches as the interpreter ends is held forever: by PyO3, and from 3.14 on by CPython itself.
	{regexp.MustCompile(`HangThread|^PyThread_hang_thread$`), forNothing},
	{regexp.MustCompile(`^(PyThread_acquire_lock(_timed)?|_?acquire_timed|lock_PyThread_acquire_lock|rlock_acquire|_PyMutex_Lock\w*|PyMutex_Lock|_PyParkingLot_Park|_PySemaphore_Wait)$`), forPyLock},
	{regexp.MustCompile(`^(os_waitpid|os_wait[34]?|(__)?(libc_)?wait(pid|[34]|id)?|std::(sys|process)::.*(Child|Process)>?::wait.*)$`), forChild},
	{regexp.MustCompile(`^(__)?(libc_)?(recv(from|msg|mmsg)?|accept4?|connect|send(to|msg)?|getaddrinfo)$|^sock_(recv|accept|connect|send)\w*$|^std::(sys::)?net::`), forNetwork},
	{regexp.MustCompile(`^(__)?(libc_)?(p?poll|p?select|epoll_p?wait2?|read|readv|pread(64)?|write|writev|flock|fcntl(64)?|open(at)?(64)?)$|^mio::`), forFile},
	{regexp.MustCompile(`^(__)?(libc_)?(clock_)?nanosleep(_time64)?$|^(usleep|sleep|pysleep|time_sleep)$|^std::thread::.*sleep(_until|_ms)?$`), forTime},
	{regexp.MustCompile(`^(__)?(GI_)?(pthread_join|pthread_timedjoin_np|pthread_clockjoin\w*)$|^std::thread::.*(JoinHandle|JoinInner|ScopedJoinHandle).*::join$|^std::sys::.*thread.*Thread::join$`), forThread},
	{regexp.MustCompile(`^(std::sync::(mpsc|mpmc)|crossbeam_channel|crossbeam::channel|flume|kanal|async_channel)::.*(recv|send|Receiver|Sender|Context::wait_until)`), forChannel},
	{regexp.MustCompile(`^<?rayon(_core)?::`), forRayon},
	{regexp.MustCompile(`^<?tokio::`), forTokio},
	{regexp.MustCompile(`^(std::sys::.*|std::sync::(poison::)?)once::.*(Once::(wait|call)|WaiterQueue|wait)$|^std::sync::(poison::)?once::Once::call|^(parking_lot|once_cell)::.*(call_once|initialize_or_wait|initialize|wait)|^std::sync::(once_lock::OnceLock|lazy_lock::LazyLock|reentrant)|LazyLock<.*>::force`), forOnce},
	{regexp.MustCompile(`Mutex(<.*>)?>?::lock(_contended|_slow)?$|RwLock(<.*>)?>?::(read|write|lock_\w+)(_contended|_slow)?$|^<?(parking_lot::raw_\w+|lock_api)::`), forMutex},
	{regexp.MustCompile(`ondvar(<.*>)?>?::wait`), forCondvar},
	{regexp.MustCompile(`^std::thread::.*park(_timeout)?$|^<?std::sys::.*Parker::park`), forUnpark},
	{regexp.MustCompile(`^(__)?(GI_|lll_)?(pthread_mutex_(lock|timedlock|clocklock)\w*|lock_wait\w*|pthread_rwlock_\w+|pthread_spin_lock)$`), forCLock},
	{regexp.MustCompile(`^(__)?pthread_cond_(timed|clock)?wait\w*$|^(__)?(new_)?sem_(timed|clock)?wait\w*$|^pthread_barrier_wait$`), forCondvar},
}

// generic matches functions that many waits go through, so that their callers decide.
var generic = regexp.MustCompile(`^(__)?(GI_)?(pthread_cond_(timed|clock)?wait\w*|(new_)?(do_)?sem_(timed|clock)?wait\w*|futex\w*|lll_\w+)$`)

// waitsFor returns what a thread waits for. The callers of the user's own native code do not count: that code is
// running.
func (t thread) waitsFor() wait {
	if len(t.Frames) == 0 || t.Frames[0].native() && t.Active && !system.MatchString(t.Frames[0].Filename) {
		return nothing
	}
	general := nothing
	for i, f := range t.Frames {
		if userFile(f.Filename) && f.native() {
			break
		}
		if !f.native() {
			if i > 0 && t.Frames[i-1].Name == "pthread_cond_timedwait" {
				return forGIL // the evaluation loop waits this way for nothing else
			}
			return pythonWait(t.Frames[i:], general)
		}
		switch w := waitIn(f); {
		case w == nothing:
		case !generic.MatchString(f.Name):
			return refine(t.Frames[i:], w)
		case general == nothing:
			general = w // its caller may be more specific
		}
	}
	return general
}

// system matches the libraries in which a thread sleeps.
var system = regexp.MustCompile(`/(libc|ld|libpthread)[-.][^/]*$`)

func waitIn(f frame) wait {
	for _, known := range waits {
		if known.functions.MatchString(f.Name) {
			return known.for_
		}
	}
	return nothing
}

// Files and functions of Python's standard library that show what a wait is for.
var (
	inAsyncio         = regexp.MustCompile(`/asyncio/\w+\.py$`)
	inMultiprocessing = regexp.MustCompile(`/multiprocessing/\w+\.py$`)
	inSubprocess      = regexp.MustCompile(`/subprocess\.py$`)
	inSockets         = regexp.MustCompile(`/(socket|ssl|selectors|asyncore|socketserver)\.py$`)
	inThreading       = regexp.MustCompile(`/threading\.py$`)
	inQueue           = regexp.MustCompile(`/(threading|queue)\.py$`)
	threadEnds        = regexp.MustCompile(`(^|\.)(join|_wait_for_tstate_lock|_shutdown)$`)
)

// refine narrows a wait down by the callers of the function that waits.
func refine(frames []frame, w wait) wait {
	switch w {
	case forFile:
		switch {
		case anyIn(frames, inAsyncio):
			return forLoop
		case anyIn(frames, inSockets):
			return forNetwork
		case anyIn(frames, inSubprocess), anyIn(frames, inMultiprocessing):
			return forChild
		}
	case forPyLock:
		switch {
		case anyIn(frames, inMultiprocessing):
			return forChild
		case endsThread(frames):
			return forPyThread
		}
	case forUnpark, forCondvar, forMutex: // queues, pools and runtimes wait through these
		for _, f := range frames {
			if userFile(f.Filename) || !f.native() {
				break
			}
			switch around := waitIn(f); around {
			case forChannel, forRayon, forTokio, forOnce, forThread, forNothing:
				return around
			}
		}
	}
	return w
}

// pythonWait returns what a thread waits for, judged by its Python frames alone: its native frames did not show it.
func pythonWait(frames []frame, general wait) wait {
	innermost := frames[:1]
	switch {
	case anyIn(innermost, inThreading) && endsThread(frames):
		return forPyThread
	case anyIn(innermost, inQueue):
		return forPyLock
	case anyIn(innermost, inSubprocess), anyIn(innermost, inMultiprocessing):
		return forChild
	case anyIn(innermost, inSockets) && anyIn(frames, inAsyncio):
		return forLoop
	case anyIn(innermost, inSockets):
		return forNetwork
	}
	return general
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
