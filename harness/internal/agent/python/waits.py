"""What each thread of a process waits for, as the kernel and the memory show it, without a name of a function."""

from __future__ import annotations

import dataclasses
import os
import struct
import time

import gil
import procs
import world

CALLS = {"x86_64": {202: "futex", 34: "pause"}, "aarch64": {98: "futex", 73: "ppoll"}}
"""The system calls that matter here, by machine and number. glibc calls ppoll where there is no pause."""
WAITS = (0, 9)
"""FUTEX_WAIT and FUTEX_WAIT_BITSET. Others (priority inheritance, requeueing, vectors) are rare and not considered."""
PRIVATE = 128
"""FUTEX_PRIVATE_FLAG: only a thread of the same process can wake the wait."""
OPTIONS = PRIVATE | 256
"""With FUTEX_CLOCK_REALTIME: neither affects which thread of the process can wake the wait."""
JOINABLE = 2
"""The state of a thread that has not ended, in the descriptors of glibc 2.42 and later."""

DESCRIPTOR = 4096
"""Bytes on each side of a word of a thread's descriptor that hold the whole descriptor."""

PATIENCE = 0.02
PAUSE = 0.001
"""Seconds for which a thread that runs is checked again, and between: one that wants the GIL runs for moments."""


def number(name: str) -> int:
    """Return the number of a system call on this machine, or -1 if it has none."""
    calls = CALLS.get(os.uname().machine, {})
    return next((number for number, each in calls.items() if each == name), -1)


@dataclasses.dataclass(frozen=True)
class Call:
    """The system call in which a thread is blocked."""

    name: str
    """futex or pause, or "" for any other call and for none, as at a page that is being loaded."""
    address: int = 0
    operation: int = 0
    value: int = 0
    timed: bool = False
    pointer: int = 0
    """The thread's stack pointer."""

    @property
    def waits(self) -> bool:
        """Report whether it waits at an address, in a way that is understood."""
        return self.name == "futex" and self.operation & ~OPTIONS in WAITS


def parse(text: bytes) -> Call | None:
    """Read a /proc/PID/task/TID/syscall file: proc(5). Return None if the thread runs, or is gone."""
    words = text.split()
    if len(words) < 3:
        return None
    if len(words) != 9:
        return Call("", pointer=int(words[-2], 16))
    name = CALLS.get(os.uname().machine, {}).get(int(words[0]), "")
    address, operation, value, timeout = (int(word, 16) for word in words[1:5])
    pointer = int(words[-2], 16)
    if name == "ppoll":
        name = "" if address or operation or value else "pause"
    if name != "futex":
        return Call(name, pointer=pointer)
    return Call(name, address, operation & 0xFFFFFFFF, value & 0xFFFFFFFF, timeout != 0, pointer)


def call(pid: int, thread: int) -> Call | None:
    """Return the call in which a thread is blocked, or None if it runs or is gone."""
    try:
        with open(f"/proc/{pid}/task/{thread}/syscall", "rb", buffering=0) as file:
            return parse(file.read())
    except (OSError, ValueError):
        return None


@dataclasses.dataclass(frozen=True)
class Wait:
    """What a thread waits for."""

    call: str
    """The name of the system call, as in Call."""
    joins: int = 0
    """The thread whose end it waits for, or 0."""
    wants_gil: bool = False
    state: str = ""
    """In a free-threaded interpreter: "attached", "detached" or "suspended"; "" for a thread that it does not know."""
    stops_world: bool = False
    """Whether it waits until no other thread is attached."""


def of(pid: int, most: int) -> dict[int, Wait]:
    """Return what the threads of a process wait for, of at most `most` threads.

    Those that are not blocked are there if the interpreter is free-threaded and knows them.
    """
    try:
        space = gil.mappings(pid)
    except OSError:
        return {}
    threads = sorted(procs.threads(pid))[:most]
    calls = {thread: call(pid, thread) for thread in threads}
    end = time.monotonic() + PATIENCE
    while running := [thread for thread, seen in calls.items() if seen is None]:
        if time.monotonic() > end:
            break
        time.sleep(PAUSE)
        calls.update({thread: call(pid, thread) for thread in running})
    blocked = {thread: seen for thread, seen in calls.items() if seen is not None}
    runtimes = gil.runtimes(space)
    its = world.settled(pid, runtimes)
    if its is None or its.gil:
        its = world.World(())
    states = {thread: world.NAMES.get(state, "") for thread, state in its.states}
    stopper = its.stops([thread for thread in threads if thread not in blocked or blocked[thread].timed])
    found = {
        thread: Wait("", state=state, stops_world=thread == stopper)  # it runs for a moment each millisecond
        for thread, state in states.items()
        if thread in threads
    }
    for thread, seen in blocked.items():
        joined, wants_gil = _joined(pid, thread, blocked, space), _wants_gil(pid, seen, runtimes)
        found[thread] = Wait(seen.name, joined, wants_gil, states.get(thread, ""), thread == stopper)
    return found


def _joined(pid: int, thread: int, blocked: dict[int, Call], space: list[gil.Mapping]) -> int:
    """Return the thread whose end another one waits for, or 0.

    glibc's pthread_join waits at a word of the other thread's descriptor, which is at the upper end of that thread's
    stack: the word with the thread's number, which the kernel clears when it ends, or from 2.42 on the one with its
    state. The kernel's wake-up there is a shared one, so the wait is not private. A lock of another kind can look like
    that on another thread's stack, so the number has to be near the word, and the nearest stack counts. (This does not
    hold for the main thread, which no thread joins.)
    """
    seen = blocked[thread]
    place = gil.mapping_of(seen.address, space)
    if not seen.waits or seen.operation & PRIVATE or place is None:
        return 0
    below = [
        (its.pointer, other)
        for other, its in blocked.items()
        if other != thread and place.start <= its.pointer < seen.address
    ]
    other = max(below, default=(0, 0))[1]
    if not other or seen.value not in (other, JOINABLE):
        return 0
    return other if _has_word(pid, seen.address, place, other) else 0


def _has_word(pid: int, address: int, place: gil.Mapping, word: int) -> bool:
    """Report whether a word of memory near an address has this value."""
    start, end = max(place.start, address - DESCRIPTOR), min(place.end, address + DESCRIPTOR)
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            data = os.pread(memory.fileno(), end - start, start)
    except (OSError, ValueError, OverflowError):
        return False
    return any(value == word for (value,) in struct.iter_unpack("<I", data[: len(data) // 4 * 4]))


def _wants_gil(pid: int, seen: Call, runtimes: list[range]) -> bool:
    """Report whether a thread waits in steps, at the GIL's condition variable, while another one has the GIL."""
    if not seen.waits or not seen.timed or not any(seen.address in each for each in runtimes):
        return False
    held = gil.read(pid, seen.address)
    return held is not None and bool(held.locked)
