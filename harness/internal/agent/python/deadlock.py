"""Proves that no thread of a process can ever run again, from what /proc tells without a right to trace it.

The proof. Each thread waits, without a timeout, at an address of the process's own memory (a futex), and from one look
to the next none of them has run. A thread that was seen blocked, and later again after as many context switches as
before, was blocked all the time between: so there was a moment, after the last thread of one look and before the first
of the next, at which all were blocked at once. From that moment on only somebody outside could wake one, and there is
nobody:

- Another process can wake a wait at memory that it shares. Waits count only where they are at a private mapping. What
  shares the whole address space (vfork, clone with CLONE_VM) is a child, of which there must be none; the thread that
  made one by vfork waits in another call than a futex, besides. Any other process that writes into this one's memory
  (process_vm_writev, /proc/PID/mem) wakes nobody by that.
- A signal with a handler can interrupt a wait (`Lock.acquire` then runs Python's handler). None may be pending, and
  none may have a handler, but those that a thread raises by its own doing (a fault, an abort), the one of a terminal
  that changes its size, which the tests have not got, glibc's own, which one thread sends to another, the one by which
  the agent asks for stacks, and SIGINT, which has a handler in each Python: it comes from a terminal, or from a process
  that the test has started, and again there must be no living one. alarm and setitimer, which /proc does not show, have
  signals of their own, none of these; without a handler theirs end the process. The timers of timer_create are shown.
- A tracer can do anything: there must be none. A stopped thread is not a blocked one.
- The kernel itself wakes for io_uring and userfaultfd: such descriptors void the proof.
- The clock: a wait with a timeout voids it, and so does any call that is not a futex, whatever it waits for.
- The end of a thread wakes who joins it, and that of the owner of a robust lock who waits for that: but it is an end of
  a thread of this process, which would have to run for it.

A thread that waits for the GIL is the exception: it wakes every few milliseconds, looks, and waits again. It can do
nothing else until the GIL is let go. That nobody lets it go is read from the GIL itself. Between two looks the count of
its changes and its last holder are the same, and it is locked. A thread that waits found it locked by another than
itself; had it held the GIL at the first reading, then another would have taken it since, and that is counted. So the
holder is none of those that wait for it: it is one of those that have not run, or is gone for good.

Where /proc does not say all this there is no proof, and the deadline of the test decides.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Callable

import gil
import procs

FUTEX = {"x86_64": 202, "aarch64": 98}
"""The number of the system call, by machine."""
WAITS = (0, 9)
"""FUTEX_WAIT and FUTEX_WAIT_BITSET. Others (priority inheritance, requeueing, vectors) are rare, and not judged."""
OPTIONS = 128 | 256
"""FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME: neither says who can wake."""

HARMLESS = (2, 4, 6, 7, 8, 11, 28, 32, 33)
"""INT, ILL, ABRT, BUS, FPE, SEGV, WINCH, and glibc's SIGCANCEL and SIGSETXID."""

FIRST = 0.5
"""Seconds that a test has run when it is looked at: nearly all have ended by then."""
PAUSE = 0.5
AGAIN = 0.1
"""Seconds to the next look where this one was spoiled by a thread that ran, as one that wants the GIL does at times."""
SPOILED = 5
"""How often in a row that may be."""
SPAN = 1.5
"""Seconds that nothing may have moved. The proof needs no length; but then nothing hangs on a look that went wrong."""
LOOKS = 3
GLANCES = 5
"""How often a thread that runs is looked at in one look: one that waits for the GIL runs for microseconds."""
MOST = 256
"""Threads that are looked at; with more, a look would be no glance."""
TOLD = 64


class Moving(Exception):
    """Something may go on. The words say what."""

    tid = 0
    """The thread that runs just now, where that is all there is against it."""


@dataclasses.dataclass(frozen=True)
class Thread:
    """A thread that waits at an address."""

    tid: int
    started: int
    name: str
    ran: tuple[int, ...]
    """Its context switches and its processor time: both only grow."""
    address: int
    timed: bool


@dataclasses.dataclass(frozen=True)
class Look:
    """All threads of a process, and the GIL if one waits for it."""

    when: float
    threads: tuple[Thread, ...]
    gil: gil.Gil | None = None


def thread(tid: int, stat: bytes, status: bytes, syscall: bytes, number: int, own_signal: int = 0) -> Thread:
    """Make a thread of its three files, or say why it may move. The last has to be read last."""
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
    words = syscall.split()
    if words == [b"running"] or rest[0] == b"R":
        moving = Moving(f"thread {tid} runs")
        moving.tid = tid
        raise moving
    if rest[0] != b"S" or not fields["State"].startswith("S"):
        raise Moving(f"thread {tid} is in state {rest[0].decode('ascii', 'replace')}")
    if len(words) != 9 or words[0] != b"%d" % number:
        raise Moving(f"thread {tid} is in another call than futex")
    address, operation, timeout = int(words[1], 16), int(words[2], 16) & 0xFFFFFFFF, int(words[4], 16)
    if operation & ~OPTIONS not in WAITS:
        raise Moving(f"thread {tid} is in another futex operation than a wait")
    ran = (
        int(fields["voluntary_ctxt_switches"]),
        int(fields["nonvoluntary_ctxt_switches"]),
        int(rest[11]),
        int(rest[12]),
    )
    return Thread(tid, int(rest[19]), fields["Name"], ran, address, timeout != 0)


def same(first: Look, last: Look) -> bool:
    """Whether nothing has moved from one look to another, but for those that retry the GIL."""
    if len(first.threads) != len(last.threads) or first.gil != last.gil:
        return False
    return all(
        dataclasses.replace(before, ran=()) == dataclasses.replace(after, ran=())
        and (before.timed or before.ran == after.ran)
        for before, after in zip(first.threads, last.threads)
    )


def check(look: Look, runtimes: list[range]) -> None:
    """Refuse a look at which somebody waits by the clock, or for the GIL while that is free."""
    waiting = [each for each in look.threads if each.timed]
    if not look.threads or len(waiting) == len(look.threads):
        raise Moving("nobody is blocked for good")
    if not waiting:
        return
    if len({each.address for each in waiting}) > 1 or not any(waiting[0].address in each for each in runtimes):
        raise Moving(f"thread {waiting[0].tid} waits with a timeout")
    if look.gil is None or not look.gil.locked:
        raise Moving("the GIL cannot be seen, or is free")


def prove(looks: list[Look], space: list[gil.Mapping], runtimes: list[range]) -> str | None:
    """The proof in words, a line a thread, or None if these looks do not make one."""
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
        place = gil.mapping_of(each.address, space)
        if place is None or not place.own:
            return None
        what = (
            "wants the GIL, which its holder cannot let go"
            if each.timed
            else "waits without a timeout for another thread to wake it"
        )
        lines.append(f"    thread {each.tid} {each.name!r} {what} (futex {each.address:#x}, {place.name})")
    if len(lines) > TOLD:
        lines[TOLD:] = [f"    and {len(lines) - TOLD} more threads like these"]
    span = looks[-1].when - first.when
    head = f"proof: nothing moved in {len(looks)} looks within {span:.1f}s, "
    head += "and no clock, signal, tracer or other process is there to wake a thread:"
    return "\n".join((head, *lines))


class Process:
    """What /proc tells of one process."""

    def __init__(self, pid: int, own_signal: int = 0) -> None:
        self.pid = pid
        self.own_signal = own_signal
        self.number = FUTEX.get(os.uname().machine, -1)
        self.runtimes: list[range] | None = None

    def look(self, when: float) -> Look:
        """Look at all threads, or say why one may move: the first that may is the last that is looked at."""
        tids = self._tids()
        threads = self._threads(tids)
        if self._tids() != tids:
            raise Moving("threads come or go")
        wanted = next((each.address for each in threads if each.timed), 0)
        if wanted and self.runtimes is None:
            self.runtimes = gil.runtimes(gil.mappings(self.pid))
        look = Look(when, threads, gil.read(self.pid, wanted) if wanted else None)
        check(look, self.runtimes or [])
        return look

    def check_outside(self) -> None:
        """Refuse a process that somebody outside could wake."""
        if self._file("timers"):
            raise Moving("a timer is set")
        folder = f"/proc/{self.pid}/fd"
        for fd in os.listdir(folder):
            target = os.readlink(f"{folder}/{fd}")
            if target.startswith("anon_inode:") and ("io_uring" in target or "userfaultfd" in target):
                raise Moving(f"descriptor {fd} is {target}")
        for tid in self._tids():  # a wait for memory itself (a page on its way) is none for a wake-up
            place = self._file(f"task/{tid}/wchan")
            if place.strip(b"\0\n") not in (b"", b"0") and b"futex" not in place:
                raise Moving(f"thread {tid} waits in {place.decode('ascii', 'replace')}")
        # What a forked test has started stays below it, a subreaper. What one in pytest's own process has started may
        # have become the agent's.
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
        """All threads. One that runs is looked at again after the others: it may want the GIL."""
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
                        break  # as long as the main thread runs, no other need be looked at
            if len(found) == len(tids):
                return tuple(found[tid] for tid in tids)
        raise spoiled

    def _thread(self, tid: int) -> Thread:
        # In this order: one that is counted, then seen blocked, and has the same count later never ran between.
        stat, status, syscall = [self._file(f"task/{tid}/{name}") for name in ("stat", "status", "syscall")]
        return thread(tid, stat, status, syscall, self.number, self.own_signal)

    def _file(self, name: str) -> bytes:
        with open(f"/proc/{self.pid}/{name}", "rb", buffering=0) as file:
            return file.read()


@dataclasses.dataclass(frozen=True)
class Proof:
    """A proven deadlock of a process."""

    pid: int
    after: float
    """Seconds that it had been watched: since its test began."""
    threads: int
    text: str


class Observed:
    """A process under observation, since its test began or since it was started."""

    def __init__(self, pid: int, began: float, process: Process) -> None:
        self.pid = pid
        self.began = began
        self.due = began + FIRST
        self.process = process
        self.looks: list[Look] = []
        self.spoiled = 0

    def step(self, now: float) -> Proof | None:
        """Look once; the proof if this completes one."""
        self.due = now + PAUSE
        try:
            self._take(self.process.look(now))
            if self.looks[-1].when - self.looks[0].when < SPAN or len(self.looks) < LOOKS:
                return None
            space = gil.mappings(self.pid)
            self.process.check_outside()
            # Who came from outside until now and is gone has left its traces by now.
            self._take(self.process.look(now))
        except Moving as moving:
            self._take_none(now, moving.tid)
            return None
        except PermissionError:
            self.due = float("inf")  # a kernel that does not tell will not tell later
            return None
        except (OSError, ValueError, LookupError):  # it ends just now, or this kernel says something else
            self.looks.clear()
            return None
        text = prove(self.looks, space, self.process.runtimes or [])
        if text is None:
            self.looks.clear()
            return None
        self.due = float("inf")
        return Proof(self.pid, now - self.began, len(self.looks[0].threads), text)

    def _take_none(self, now: float, runs: int) -> None:
        """A look failed. Where one that wants the GIL is the reason, it says nothing for or against what was seen."""
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
    """Processes, of which those that run for long are looked at now and then."""

    def __init__(self, own_signal: int, make: Callable[[int, int], Process] = Process) -> None:
        self.own_signal = own_signal
        self.make = make
        self.observed: dict[int, Observed] = {}

    def begin(self, pid: int, now: float) -> None:
        """A process, or a test in one, begins."""
        self.observed[pid] = Observed(pid, now, self.make(pid, self.own_signal))

    def end(self, pid: int) -> None:
        """It has ended."""
        self.observed.pop(pid, None)

    def pause(self, now: float) -> float:
        """Seconds to the next look."""
        return max(0.0, min((each.due for each in self.observed.values()), default=float("inf")) - now)

    def step(self, now: float) -> list[Proof]:
        """Look at those that it is time for."""
        proofs = (each.step(now) for each in list(self.observed.values()) if each.due <= now)
        return [proof for proof in proofs if proof is not None]
