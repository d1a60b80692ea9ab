package hang

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	onceFrames = paths("std::{sync,sys,sys_common}::**::once::**::call*::**", "{once_cell,parking_lot::once}::**::"+
		"{call_once*,initialize*,get_or_init*,get_or_try_init*,force}::**", "**::LazyLock::force*::**",
		"**::{OnceLock,OnceCell}::{initialize,get_or_init*,get_or_try_init*}::**", "**::{GILOnceCell,PyOnceLock}::**")
	onceEntries    = paths("**::Once::call", "**::call_once_slow", "once_cell::{imp,sync}::**::initialize*")
	dropFrames     = paths("core::ptr::drop_*", "**::drop", "*_dealloc")
	atexitFrames   = paths("atexit_callfuncs", "_PyAtExit_Call", "__run_exit_handlers", "__cxa_finalize", "_run_exitfuncs")
	shutdownFrames = regexp.MustCompile(`(^|\.)(wait_for_thread_shutdown|_shutdown)$`)
	rayonFrames    = paths("rayon{,_core}::**")
	tokioFrames    = paths("tokio::runtime::**")
)

// stopTheWorld returns the cause if a thread of a free-threaded interpreter waits for all others to hold still, and one that is
// attached to the interpreter does not.
func (k *knot) stopTheWorld() (Cause, bool) {
	stops, keeps, blocked := slices.Index(k.waits, forStop), -1, false
	for i, t := range k.threads {
		if waits := k.waits[i] != nothing; t.Wait.State == "attached" && i != stops && (keeps < 0 || waits && !blocked) {
			keeps, blocked = i, waits
		}
	}
	if stops < 0 || keeps < 0 {
		return Cause{}, false
	}
	stopper, keeper, w := k.threads[stops], k.threads[keeps], k.waits[keeps]
	if !blocked && (!keeper.Active || keeper.runsPython()) {
		return Cause{}, false // one that runs Python code soon holds still
	}
	cause := Cause{Key: StopTheWorld, Cure: cureStopTheWorld}
	cause.File, cause.Line = keeper.userFrame()
	stopping := fmt.Sprintf("%s stops the world%s and waits until no other thread is attached", stopper, stopper.where())
	cause.Chain = []string{fmt.Sprintf("%s waits for %s to detach", stopper, keeper)}
	if !blocked {
		cause.Sentence = fmt.Sprintf("%s, and %s is attached and runs native code%s that does not return", stopping, keeper, keeper.where())
		return cause, true
	}
	cause.Sentence = fmt.Sprintf("%s, and %s is attached and waits for %s%s", stopping, keeper, w, keeper.where())
	switch owner := k.owner(stops, keeps); {
	case !w.ofThreads():
	case k.threads[owner].isJoinedBy(keeper):
		cause.Chain = append(cause.Chain, fmt.Sprintf("%s waits for %s", keeper, joined(keeper, k.threads[owner])))
	case w == forMutex, w == forOnce, w == forCLock, w == forPyLock:
		cause.Chain = append(cause.Chain, fmt.Sprintf("%s waits for %s, held by %s (inferred)", keeper, w, k.threads[owner]))
	default:
		cause.Chain = append(cause.Chain, fmt.Sprintf("%s waits for %s", keeper, provided(w, k.threads[owner])))
	}
	return cause, true
}

// owner returns the index of the thread that has what another one waits for, as far as that shows: the one that it joins, else
// one that waits for the world to go on in the user's code, else the one that stops the world.
func (k *knot) owner(stops, waits int) int {
	owner := stops
	for i, t := range k.threads {
		switch file, _ := t.userFrame(); {
		case t.isJoinedBy(k.threads[waits]):
			return i
		case i != waits && k.waits[i] == forWorld && file != "":
			owner = i
		}
	}
	return owner
}

// holderCause returns the cause, judged by the thread that holds the GIL.
func (k *knot) holderCause(c Circumstances) (Cause, bool) {
	holder, waits := k.threads[k.holder], k.waits[k.holder]
	cause := Cause{}
	cause.File, cause.Line = holder.userFrame()
	switch {
	case waits == nothing && holder.Active && len(holder.Frames) > 0 && !holder.runsPython():
		cause.Key, cause.Cure = NativeLoopGIL, cureDetach
		cause.Sentence = fmt.Sprintf("%s runs native code%s that holds the GIL and does not return", holder,
			holder.where())
		return cause, true
	case waits == nothing && holder.Active:
		cause.Key, cause.Cure = PythonLoop, curePythonLoop
		cause.Sentence = fmt.Sprintf("%s still runs Python code%s: it is slow, or it loops", holder, holder.where())
		return cause, true
	case waits == nothing:
		return cause, false
	}
	wanted := k.relevantWanting()
	if joined, ok := k.joinsAnother(holder, wanted); ok {
		return joined, true
	}
	if len(wanted) == 0 || !waits.ofThreads() {
		if inherited, ok := k.inherited(c, k.holder); ok {
			return inherited, true
		}
		if reentrant, ok := k.reentrant(k.holder); ok {
			return reentrant, true
		}
		cause.Key, cause.Cure = NativeWaitGIL, cureDetach
		cause.Sentence = fmt.Sprintf("%s holds the GIL and waits for %s%s: nothing in Python can run meanwhile", holder,
			waits, holder.where())
		return cause, true
	}
	at := wanted[0]
	for _, i := range wanted {
		if waits == forOnce && k.threads[i].inside(onceFrames) > 0 || k.threads[i].isJoinedBy(holder) {
			at = i
		}
	}
	other := k.threads[at]
	held := fmt.Sprintf("%s, held by %s (inferred: Rust locks record no owner)", waits, other)
	wants := fmt.Sprintf("%s waits for the GIL%s", other, other.where())
	if k.waits[at] == forNothing {
		return waitsForHeld(holder, other, waits), true
	}
	switch {
	case waits == forOnce && other.inside(onceFrames) > 0:
		cause.Key, cause.Cure = InitialiserGIL, cureInitialiser
		held = fmt.Sprintf("%s, which %s runs", waits, other)
		cause.Sentence = fmt.Sprintf("a one-time initialiser needs the GIL: %s runs it and waits for the GIL%s, and "+
			"%s holds the GIL and waits for the initialiser%s",
			other, other.where(), holder, holder.where())
	case waits == forThread && holder.insideNative(dropFrames) > 0:
		cause.Key, cause.Cure = ExitDrop, cureJoin
		held = joined(holder, other)
		cause.Sentence = fmt.Sprintf("a Drop joins a thread that needs the GIL: %s holds the GIL and joins%s, "+
			"and %s waits for the GIL%s",
			holder, holder.where(), other, other.where())
	case waits == forThread:
		cause.Key, cause.Cure = JoinGIL, cureJoin
		held = joined(holder, other)
		cause.Sentence = fmt.Sprintf("a thread that needs the GIL is joined by the thread that holds it: %s holds "+
			"the GIL and joins%s, and %s waits for the GIL%s",
			holder, holder.where(), other, other.where())
	case waits == forChannel, waits == forRayon, waits == forTokio, waits == forUnpark, waits == forCondvar:
		cause.Key, cause.Cure = GILLockCycle, cureCycle
		held = provided(waits, other)
		cause.Sentence = fmt.Sprintf("a cycle of the GIL and %s: %s holds the GIL and waits for %s%s, and %s",
			cycleOf[waits], holder, waits, holder.where(), wants)
	default:
		cause.Key, cause.Cure = GILLockCycle, cureCycle
		cause.Sentence = fmt.Sprintf("a cycle of the GIL and a lock: %s holds the GIL and waits for %s%s, "+
			"and %s waits for the GIL%s",
			holder, waits, holder.where(), other, other.where())
	}
	cause.Chain = []string{
		fmt.Sprintf("%s waits for %s", holder, held),
		fmt.Sprintf("%s waits for the GIL, held by %s", other, holder),
	}
	return cause, true
}

// isJoinedBy reports whether the kernel shows that another thread waits for this one's end.
func (t thread) isJoinedBy(other thread) bool { return t.OSID != 0 && other.Wait.Joins == t.OSID }

// joinsAnother returns the cause if the holder of the GIL joins a thread that waits for something else than the GIL.
func (k *knot) joinsAnother(holder thread, wanted []int) (Cause, bool) {
	at := slices.IndexFunc(k.threads, func(t thread) bool { return t.isJoinedBy(holder) })
	if at < 0 || k.waits[at] == nothing || slices.Contains(wanted, at) {
		return Cause{}, false
	}
	other := k.threads[at]
	cause := Cause{Key: NativeWaitGIL, Cure: cureDetach, Chain: []string{
		fmt.Sprintf("%s waits for %s", holder, joined(holder, other)),
		fmt.Sprintf("%s waits for %s%s", other, k.waits[at], other.where()),
	}}
	cause.File, cause.Line = holder.userFrame()
	cause.Sentence = fmt.Sprintf("%s holds the GIL and waits for the end of %s%s: nothing in Python can run meanwhile", holder,
		other, holder.where())
	return cause, true
}

// joined names the thread whose end another one waits for.
func joined(joins, other thread) string {
	if other.isJoinedBy(joins) {
		return "the end of " + other.String()
	}
	return fmt.Sprintf("%s (inferred: which thread is joined is not recorded), %s", forThread, other)
}

// provided names what is waited for, and the thread that would have to provide it.
func provided(w wait, by thread) string {
	return fmt.Sprintf("%s, which %s would have to provide (inferred)", w, by)
}

// heldForever returns a thread other than t that attached too late: the one that t joins, if that is known.
func (k *knot) heldForever(t thread) (thread, bool) {
	for i, other := range k.threads {
		if k.waits[i] == forNothing && other.OSID != t.OSID && (t.Wait.Joins == 0 || other.isJoinedBy(t)) {
			return other, true
		}
	}
	return thread{}, false
}

// waitsForHeld returns the cause if a thread waits for what only a thread that attached too late could provide.
func waitsForHeld(t, held thread, w wait) Cause {
	cause := Cause{Key: AttachFinalizing, Cure: cureExit}
	cause.File, cause.Line = t.userFrame()
	if w == forThread && t.insideNative(dropFrames) > 0 {
		cause.Key = ExitDrop
	}
	cause.Sentence = fmt.Sprintf("%s waits for %s%s, and %s attached as the interpreter ended, and is held forever%s",
		t, w, t.where(), held, held.where())
	awaited := provided(w, held)
	if held.isJoinedBy(t) {
		awaited = joined(t, held)
	}
	cause.Chain = []string{
		fmt.Sprintf("%s waits for %s", t, awaited),
		fmt.Sprintf("%s waits for an interpreter that is ending", held),
	}
	return cause
}

// cycleOf names the other part of a cycle with the GIL.
var cycleOf = map[wait]string{
	forChannel: "a channel", forRayon: "rayon's pool", forTokio: "a tokio runtime", forUnpark: "a parked thread",
	forCondvar: "a condition variable",
}

// relevantWanting returns the indices of the threads that wait for the GIL, those that run the user's code first.
func (k *knot) relevantWanting() (found []int) {
	for _, i := range k.wanting {
		if file, _ := k.threads[i].userFrame(); file != "" {
			found = append([]int{i}, found...)
		} else {
			found = append(found, i)
		}
	}
	return found
}

// inherited reports whether a forked child waits for something that belongs to a thread of its parent, which the fork
// did not copy.
func (k *knot) inherited(c Circumstances, i int) (Cause, bool) {
	t, w := k.threads[i], k.waits[i]
	if !c.Forked || len(k.threads) > 1 {
		return Cause{}, false
	}
	what, therefore := "", ": plain pytest would not hang here"
	switch {
	case t.inside(rayonFrames) > 0:
		what = "rayon's pool, whose workers a fork does not copy"
	case t.inside(tokioFrames) > 0:
		what = "a tokio runtime, whose threads a fork does not copy"
	case c.ParentThreads > 1 &&
		(w == forMutex || w == forOnce || w == forCLock || w == forCondvar || w == forChannel || w == forPyLock ||
			w == forThread):
		therefore = ""
		what = fmt.Sprintf("%s that a thread of the parent had when this child was forked (inferred: the child has "+
			"one thread, the parent had %d)",
			w, c.ParentThreads)
	default:
		return Cause{}, false
	}
	cause := Cause{Key: InheritedThroughFork, Cure: cureFork,
		Sentence: fmt.Sprintf("%s waits%s for %s%s", t, t.where(), what, therefore)}
	cause.File, cause.Line = t.userFrame()
	return cause, true
}

// reentrant reports whether a thread waits for what it holds itself: no other thread could hold it.
func (k *knot) reentrant(i int) (Cause, bool) {
	t, w := k.threads[i], k.waits[i]
	cause := Cause{}
	cause.File, cause.Line = t.userFrame()
	switch {
	case w == forOnce && t.inside(onceEntries) > 1 && k.alone(i, onceFrames):
		cause.Key, cause.Cure = InitialiserReentrant, cureReentrant
		cause.Sentence = fmt.Sprintf("a one-time initialiser is entered again from inside itself by %s%s", t, t.where())
	case w == forMutex && len(k.threads) == 1:
		cause.Key, cause.Cure = LockReentrant, cureReentrant
		cause.Sentence = fmt.Sprintf("%s waits for %s%s, and no other thread could release it: it "+
			"holds it itself (inferred)",
			t, w, t.where())
	default:
		return cause, false
	}
	return cause, true
}

// alone reports whether no other thread is in one of the functions.
func (k *knot) alone(i int, functions *regexp.Regexp) bool {
	for other, t := range k.threads {
		if other != i && t.inside(functions) > 0 {
			return false
		}
	}
	return true
}

// others says what the threads other than the main one wait for in the user's code, a line each.
func (k *knot) others() (lines []string) {
	for i, other := range k.threads {
		if file, _ := other.userFrame(); i != k.mainAt && file != "" && k.waits[i] != nothing {
			lines = append(lines, fmt.Sprintf("%s waits for %s%s", other, k.waits[i], other.where()))
		}
	}
	return lines
}

// nativelyBlocked returns the index of the first thread of Python, other than the main one, that waits for a lock in the user's
// compiled code, or -1.
func (k *knot) nativelyBlocked() int {
	for i, t := range k.threads {
		inner := slices.IndexFunc(t.Frames, func(f frame) bool { return userFile(f.Filename) })
		python := slices.ContainsFunc(t.Frames, func(f frame) bool { return !f.native() })
		locked := k.waits[i] == forMutex || k.waits[i] == forOnce || k.waits[i] == forCLock
		if i != k.mainAt && locked && inner >= 0 && t.Frames[inner].native() && python {
			return i
		}
	}
	return -1
}

// mainCause returns the cause, judged by the thread that runs the test, if no holder of the GIL shows it.
func (k *knot) mainCause(c Circumstances) Cause {
	t, w := k.main, k.waits[k.mainAt]
	if inherited, ok := k.inherited(c, k.mainAt); ok {
		return inherited
	}
	if reentrant, ok := k.reentrant(k.mainAt); ok {
		return reentrant
	}
	if held, ok := k.heldForever(t); ok && w.ofThreads() {
		return waitsForHeld(t, held, w)
	}
	cause := Cause{}
	cause.File, cause.Line = t.userFrame()
	without := ", without the GIL,"
	switch {
	case t.Wait.State == "attached":
		without = ", attached,"
	case freeThreaded(k.threads):
		without = ""
	}
	switch w {
	case nothing:
		cause.Key = Unknown
		cause.Sentence = fmt.Sprintf("the cause is unknown: no known pattern matches what %s does%s", t, t.where())
		switch {
		case t.Active && t.runsPython():
			cause.Key, cause.Cure = PythonLoop, curePythonLoop
			cause.Sentence = fmt.Sprintf("%s still runs Python code%s: it is slow, or it loops", t, t.where())
		case t.Active:
			cause.Key = NativeLoop
			how := "runs native code without the GIL"
			if freeThreaded(k.threads) {
				how = "is " + t.Wait.State + " and runs native code"
			}
			cause.Sentence = fmt.Sprintf("%s %s%s that does not return: it is slow, or it loops", t, how, t.where())
		}
	case forPyLock:
		cause.Key, cause.Cure = PythonLock, curePythonLock
		cause.Sentence = fmt.Sprintf("%s waits%s for a lock of Python's that no thread releases", t, t.where())
		if !t.showsPyLock() {
			cause.Sentence += " (inferred: the interpreter's functions have no names)"
		}
	case forPyThread:
		cause.Key, cause.Cure = PythonWait, curePythonLock
		cause.Sentence = fmt.Sprintf("%s waits%s for another Python thread, which does not end", t, t.where())
		if at := k.nativelyBlocked(); at >= 0 {
			other, w := k.threads[at], k.waits[at]
			cause.Key, cause.Cure, cause.Chain = NativeWait, cureNativeWait, k.others()
			cause.File, cause.Line = other.userFrame()
			cause.Sentence = fmt.Sprintf("%s waits%s for another Python thread, and %s waits in native code%s for %s, which does not come",
				t, t.where(), other, other.where(), w)
		}
	case forChild:
		cause.Key, cause.Cure = ChildProcess, cureChild
		cause.Sentence = fmt.Sprintf("%s waits%s for a child process that does not end", t, t.where())
	case forNetwork:
		cause.Key, cause.Cure = Network, cureNetwork
		cause.Sentence = fmt.Sprintf("%s waits%s for the network; a group has none but its own loopback, "+
			"unless network = true is set",
			t, t.where())
	case forThread:
		cause.Key, cause.Cure = NativeWait, cureNativeWait
		cause.Sentence = fmt.Sprintf("%s waits natively%s%s for %s, which does not end", t, t.where(),
			without, w)
		cause.Chain = k.others()
	case forTime:
		cause.Key = NativeWait
		if t.runsPython() {
			cause.Key = PythonWait
		}
		cause.Sentence = fmt.Sprintf("%s sleeps%s", t, t.where())
	case forFile, forLoop:
		cause.Key = PythonWait
		cause.Sentence = fmt.Sprintf("%s waits%s for %s", t, t.where(), w)
	case forWorld:
		cause.Key = Unknown
		cause.Sentence = fmt.Sprintf("%s waits%s for %s", t, t.where(), w)
	case forGIL:
		cause.Key = Unknown
		cause.Sentence = fmt.Sprintf("%s waits%s for the GIL, and no thread was seen to hold it", t, t.where())
	default:
		cause.Key, cause.Cure = NativeWait, cureNativeWait
		cause.Sentence = fmt.Sprintf("%s waits natively%s%s for %s: no thread does", t, t.where(), without, w)
		if w == forSignal && t.runsPython() {
			cause.Key, cause.Cure = PythonWait, ""
			cause.Sentence = fmt.Sprintf("%s waits%s for a signal", t, t.where())
		} else if w != forUnpark {
			cause.Sentence = fmt.Sprintf("%s waits natively%s%s for %s, which does not come", t,
				t.where(), without, w)
		}
	}
	return cause
}

// atExit refines a cause by the part of the interpreter's exit that hangs.
func (k *knot) atExit(c Circumstances, cause Cause) Cause {
	if !c.AtExit {
		return cause
	}
	switch {
	case cause.Key == StopTheWorld:
		cause.Sentence = "the interpreter is ending, and " + cause.Sentence
	case k.main.inside(shutdownFrames) > 0:
		cause.Key, cause.Cure = ExitThread, cureExitThread
		var left []string
		for i, t := range k.threads {
			if i != k.mainAt {
				left = append(left, t.String()+t.where())
			}
		}
		cause.Sentence = "the interpreter waits at its end for threads that are not daemons: " +
			strings.Join(left, ", ")
		for i, t := range k.threads {
			if file, line := t.userFrame(); i != k.mainAt && file != "" {
				cause.File, cause.Line = file, line
			}
		}
	case cause.Key == ExitDrop, cause.Key == AttachFinalizing:
	case k.main.insideNative(dropFrames) > 0 && k.waits[k.mainAt] == forThread:
		cause.Key, cause.Cure = ExitDrop, cureExit
	case k.main.inside(atexitFrames) > 0:
		cause.Key, cause.Cure = ExitAtexit, cureExit
		cause.Sentence = "an exit handler does not end: " + cause.Sentence
	case !k.main.runsPytest():
		cause.Key, cause.Cure = ExitAtexit, cureExit
		cause.Sentence = "an exit handler does not end (inferred: pytest has returned): " + cause.Sentence
	}
	return cause
}
