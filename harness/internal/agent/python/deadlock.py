"""Proves that no thread of a process can ever run again, from what /proc shows without the right to trace it.

The proof. Each thread waits, without a timeout, at an address of the process's own memory (a futex) or for a signal
(pause, in which CPython from 3.14 on leaves a thread that attaches as the interpreter ends), and none of them has run
between one sample and the next. If a thread is seen blocked twice, with the same count of context switches, it was
blocked all the time in between. So there was a moment, after the last thread of one sample and before the first of
the next, at which all were blocked at once. From that moment on only something outside the process could wake one,
and nothing can:

- Another process can wake a wait at memory that it shares. So waits count only at private mappings. What shares the
  whole address space (vfork, clone with CLONE_VM) is a child, and there must be none; besides, the thread that made one
  by vfork waits in a call other than a futex. Any other process that writes into this one's memory (process_vm_writev,
  /proc/PID/mem) does not wake a thread by that.
- A signal with a handler can interrupt a wait (`Lock.acquire` then runs Python's handler), and it ends pause, whatever
  its handler does. None may be pending, and
  none may have a handler, with these exceptions: signals that a thread raises by its own action (a fault, an abort);
  the one of a terminal that changes its size, which the tests do not have; glibc's own, which one thread sends to
  another; the one by which the agent asks for stacks; and SIGINT, which has a handler in every Python: it comes from a
  terminal, or from a process that the test has started, and again no such process may be alive. alarm and setitimer,
  which /proc does not show, have their own signals, none of these; without a handler theirs end the process. /proc does
  show the timers of timer_create.
- A tracer can do anything: there must be none. A stopped thread is not a blocked one.
- The kernel itself wakes threads for io_uring and userfaultfd: such descriptors void the proof.
- The clock: a wait with a timeout voids the proof, and so does any other call, whatever it waits for.
- The end of a thread wakes the threads that join it, and the end of a robust lock's owner wakes those that wait for the
  lock. But that is the end of a thread of this process, which would have to run first.

A thread that waits for the GIL is the exception: it wakes every few milliseconds, checks, and waits again. It can do
nothing else until the GIL is released. The GIL itself shows that no thread releases it. It is locked, and between two
samples the count of its changes and its last holder are the same. A waiting thread found it locked by another thread;
had the waiting thread held the GIL at the first sample, another would have taken it since, and that is counted. So the
holder is none of the threads that wait for it: it is one of those that have not run, or is gone for good.

In a free-threaded interpreter, which has no GIL, the thread that stops the world is such an exception: it wakes every
millisecond, checks whether a thread is still attached, and waits again. It goes no further until none is. A thread
detaches only by itself, and those that are attached, at a look that follows the sample of all threads, have not run. On
its way it releases locks of the interpreter's lists; had one of the others waited for such a lock, it would have run.

If /proc does not show all this there is no proof, and the deadline of the test decides.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Callable

import gil
import procs
import waits
import world

HARMLESS = (2, 4, 6, 7, 8, 11, 28, 32, 33)
"""INT, ILL, ABRT, BUS, FPE, SEGV, WINCH, and glibc's SIGCANCEL and SIGSETXID."""

PLACES = (b"futex", b"pause", b"poll")
"""In the names of the kernel's functions in which such threads wait; pause is ppoll on some machines: waits.CALLS."""

FIRST = 0.5
"""Seconds after which a running test is first checked: nearly all tests have ended by then."""
PAUSE = 0.5
AGAIN = 0.1
"""Seconds to the next sample if this one failed because a thread ran, as one that wants the GIL sometimes does."""
SPOILED = 5
"""How often in a row that may happen."""
SPAN = 1.5
"""Seconds in which nothing may have moved. The proof needs no minimum, but thus it does not rest on one bad sample."""
LOOKS = 3
GLANCES = 5
"""How often a running thread is checked in one sample: a thread that waits for the GIL runs for microseconds."""
MOST = 256
"""The most threads that are checked; with more, a sample would take too long."""
TOLD = 64


class Moving(Exception):
    """Something may still run. The message says what."""

    tid = 0
    """The thread that runs right now, if that is the only reason."""


@dataclasses.dataclass(frozen=True)
class Thread:
    """A thread that waits at an address, or for a signal: then the address is 0."""

    tid: int
    started: int
    name: str
    ran: tuple[int, ...]
    """Its context switches and its processor time, which only increase."""
    address: int
    timed: bool


@dataclasses.dataclass(frozen=True)
class Look:
    """A sample: all threads of a process, and, if one waits with a timeout, the GIL or what there is in its place."""

    when: float
    threads: tuple[Thread, ...]
    gil: gil.Gil | None = None
    world: world.World | None = None


def thread(tid: int, stat: bytes, status: bytes, syscall: bytes, own_signal: int = 0) -> Thread:
    """Make a thread from its three files, or raise Moving if it may run. The syscall file must be read last."""
    rest = stat[stat.rindex(b")") + 2 :].split()
    fields = dict(line.split(":\t", 1) for line in status.decode("utf-8", "replace").splitlines() if ":\t" in line)
    for name in ("SigPnd", "ShdPnd"):
        if int(fields[name], 16):
            raise Moving(f"a signal is pending for thread {tid}")
    harmless = sum(1 << (each - 1) for each in (*HARMLESS, own_signal) if each)
    caught = int(fields["SigCgt"], 16) & ~harmless
    if caught:
        raise Moving(f"signal {caught.bit_length()} has a handler")
    if int(fields["TracerPid"]):
        raise Moving("it is traced")
    call = waits.parse(syscall)
    if call is None or rest[0] == b"R":
        moving = Moving(f"thread {tid} runs")
        moving.tid = tid
        raise moving
    if rest[0] != b"S" or not fields["State"].startswith("S"):
        raise Moving(f"thread {tid} is in state {rest[0].decode('ascii', 'replace')}")
    if not call.waits and call.name != "pause":
        raise Moving(f"thread {tid} is in another call than pause or a futex wait")
    ran = (
        int(fields["voluntary_ctxt_switches"]),
        int(fields["nonvoluntary_ctxt_switches"]),
        int(rest[11]),
        int(rest[12]),
    )
    return Thread(tid, int(rest[19]), fields["Name"], ran, call.address, call.timed)


def same(first: Look, last: Look) -> bool:
    """Report whether nothing has moved from one sample to another, except threads that check again and again."""
    if len(first.threads) != len(last.threads) or (first.gil, first.world) != (last.gil, last.world):
        return False
    return all(
        dataclasses.replace(before, ran=()) == dataclasses.replace(after, ran=())
        and (before.timed or before.ran == after.ran)
        for before, after in zip(first.threads, last.threads)
    )


def check(look: Look, runtimes: list[range]) -> None:
    """Refuse a sample in which a thread waits with a timeout, except for the GIL or a world that cannot stop."""
    waiting = [each for each in look.threads if each.timed]
    if not look.threads or len(waiting) == len(look.threads):
        raise Moving("no thread is blocked forever")
    if not waiting:
        return
    timed = [each.tid for each in waiting]
    if look.world is not None and len(timed) == 1 and timed[0] == look.world.stops(timed):
        if not look.world.keeping or not {each.tid for each in look.threads}.issuperset(look.world.keeping):
            raise Moving("the world is about to stop")
        return
    if len({each.address for each in waiting}) > 1 or not any(waiting[0].address in each for each in runtimes):
        raise Moving(f"thread {waiting[0].tid} waits with a timeout")
    if look.gil is None or not look.gil.locked:
        raise Moving("the GIL cannot be seen, or is free")


def prove(looks: list[Look], space: list[gil.Mapping], runtimes: list[range]) -> str | None:
    """Return the proof as text, one line per thread, or None if these samples do not make one."""
    if len(looks) < LOOKS or looks[-1].when - looks[0].when < SPAN:
        return None
    first = looks[0]
    lines = []
    try:
        for look in looks:
            check(look, runtimes)
            if not same(first, look):
                return None
    except Moving:
        return None
    for each in first.threads:
        if not each.address:
            what = "waits for a signal, and nothing is left that could send one (pause)"
            lines.append(f"    thread {each.tid} {each.name!r} {what}")
            continue
        place = gil.mapping_of(each.address, space)
        if place is None or not place.own:
            return None
        what = "waits without a timeout for another thread to wake it"
        if each.timed and first.world is not None:
            attached = ", ".join(map(str, first.world.keeping))
            what = f"stops the world, which cannot stop while one is attached: {attached}"
        elif each.timed:
            what = "wants the GIL, which its holder cannot release"
        lines.append(f"    thread {each.tid} {each.name!r} {what} (futex {each.address:#x}, {place.name})")
    if len(lines) > TOLD:
        lines[TOLD:] = [f"    and {len(lines) - TOLD} more threads like these"]
    span = looks[-1].when - first.when
    head = f"proof: nothing moved in {len(looks)} samples over {span:.1f}s, "
    head += "and no clock, signal, tracer or other process could wake a thread:"
    return "\n".join((head, *lines))


class Process:
    """Reads from /proc what it shows of one process."""

    def __init__(self, pid: int, own_signal: int = 0) -> None:
        self.pid = pid
        self.own_signal = own_signal
        self.runtimes: list[range] | None = None

    def look(self, when: float) -> Look:
        """Take a sample of all threads, or raise Moving at the first thread that may run."""
        tids = self._tids()
        threads = self._threads(tids)
        if self._tids() != tids:
            raise Moving("threads come or go")
        wanted = next((each.address for each in threads if each.timed), 0)
        if wanted and self.runtimes is None:
            self.runtimes = gil.runtimes(gil.mappings(self.pid))
        look = Look(when, threads)
        if wanted and any(wanted in each for each in self.runtimes or []):
            look = dataclasses.replace(look, gil=gil.read(self.pid, wanted))
        elif wanted:
            look = dataclasses.replace(look, world=world.read(self.pid, self.runtimes or []))
        check(look, self.runtimes or [])
        return look

    def check_outside(self) -> None:
        """Refuse a process that something outside could wake."""
        if self._file("timers"):
            raise Moving("a timer is set")
        folder = f"/proc/{self.pid}/fd"
        for fd in os.listdir(folder):
            target = os.readlink(f"{folder}/{fd}")
            if target.startswith("anon_inode:") and ("io_uring" in target or "userfaultfd" in target):
                raise Moving(f"descriptor {fd} is {target}")
        for tid in self._tids():  # a wait for memory itself (a page being loaded) is not one for a wake-up
            place = self._file(f"task/{tid}/wchan")
            if place.strip(b"\0\n") not in (b"", b"0") and not any(name in place for name in PLACES):
                raise Moving(f"thread {tid} waits in {place.decode('ascii', 'replace')}")
        # What a forked test has started stays below it, because it is a subreaper. What a test in pytest's own process
        # has started may have been adopted by the agent.
        table = procs.everything()
        in_process = self.pid in table and table[self.pid].parent == os.getpid()
        below = procs.below(os.getpid() if in_process else self.pid, table)
        if any(each.pid != self.pid and not each.dead for each in below):
            raise Moving("a process that it has started lives")

    def _tids(self) -> list[int]:
        tids = sorted(int(name) for name in os.listdir(f"/proc/{self.pid}/task"))
        if len(tids) > MOST:
            raise Moving("there are too many threads")
        return tids

    def _threads(self, tids: list[int]) -> tuple[Thread, ...]:
        """Return all threads. One that runs is checked again after the others: it may want the GIL."""
        found: dict[int, Thread] = {}
        spoiled = Moving("it has no threads")
        for _ in range(GLANCES):
            for tid in tids:
                if tid in found:
                    continue
                try:
                    found[tid] = self._thread(tid)
                except Moving as moving:
                    if not moving.tid:
                        raise
                    spoiled = moving
                    if tid == self.pid:
                        break  # while the main thread runs, no other needs a check
            if len(found) == len(tids):
                return tuple(found[tid] for tid in tids)
        raise spoiled

    def _thread(self, tid: int) -> Thread:
        # In this order: a thread that is counted, then seen blocked, and later has the same count never ran in between.
        stat, status, syscall = [self._file(f"task/{tid}/{name}") for name in ("stat", "status", "syscall")]
        return thread(tid, stat, status, syscall, self.own_signal)

    def _file(self, name: str) -> bytes:
        with open(f"/proc/{self.pid}/{name}", "rb", buffering=0) as file:
            return file.read()


@dataclasses.dataclass(frozen=True)
class Proof:
    """A proven deadlock of a process."""

    pid: int
    after: float
    """Seconds that it was monitored, since its test began."""
    threads: int
    text: str


class Observed:
    """A process that is monitored since its test began or since it was started."""

    def __init__(self, pid: int, began: float, process: Process) -> None:
        self.pid = pid
        self.began = began
        self.due = began + FIRST
        self.process = process
        self.looks: list[Look] = []
        self.spoiled = 0

    def step(self, now: float) -> Proof | None:
        """Take one sample; return the proof if this one completes it."""
        self.due = now + PAUSE
        try:
            self._take(self.process.look(now))
            if self.looks[-1].when - self.looks[0].when < SPAN or len(self.looks) < LOOKS:
                return None
            space = gil.mappings(self.pid)
            self.process.check_outside()
            # A process that came from outside and is gone has left its traces by now.
            self._take(self.process.look(now))
        except Moving as moving:
            self._take_none(now, moving.tid)
            return None
        except PermissionError:
            self.due = float("inf")  # a kernel that refuses now will refuse later too
            return None
        except (OSError, ValueError, LookupError):  # it is just ending, or this kernel's format differs
            self.looks.clear()
            return None
        text = prove(self.looks, space, self.process.runtimes or [])
        if text is None:
            self.looks.clear()
            return None
        self.due = float("inf")
        return Proof(self.pid, now - self.began, len(self.looks[0].threads), text)

    def _take_none(self, now: float, runs: int) -> None:
        """Handle a failed sample.

        If it failed because of a thread that wants the GIL, it says nothing for or against the samples so far.
        """
        self.spoiled = self.spoiled + 1 if runs else 0
        known = not self.looks or any(each.timed and each.tid == runs for each in self.looks[0].threads)
        if runs and known and self.spoiled <= SPOILED:
            self.due = now + AGAIN
        else:
            self.looks.clear()

    def _take(self, look: Look) -> None:
        self.spoiled = 0
        if self.looks and not same(self.looks[0], look):
            self.looks.clear()
        self.looks.append(look)


class Watch:
    """Processes of which those that run for long are checked now and then."""

    def __init__(self, own_signal: int, make: Callable[[int, int], Process] = Process) -> None:
        self.own_signal = own_signal
        self.make = make
        self.observed: dict[int, Observed] = {}

    def begin(self, pid: int, now: float) -> None:
        """Start monitoring a process, or a test in one."""
        self.observed[pid] = Observed(pid, now, self.make(pid, self.own_signal))

    def end(self, pid: int) -> None:
        """Stop monitoring a process: it has ended."""
        self.observed.pop(pid, None)

    def pause(self, now: float) -> float:
        """Return the seconds to the next check."""
        return max(0.0, min((each.due for each in self.observed.values()), default=float("inf")) - now)

    def step(self, now: float) -> list[Proof]:
        """Check the processes that are due."""
        proofs = (each.step(now) for each in list(self.observed.values()) if each.due <= now)
        return [proof for proof in proofs if proof is not None]
