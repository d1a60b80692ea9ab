"""The threads of a free-threaded CPython, in which no thread holds a GIL.

Each thread that the interpreter knows is attached to it (it may use objects), detached, or suspended. A thread that
needs all others to hold still, as the garbage collector does, stops the world: it waits, in steps of a millisecond,
until no other thread is attached, and it stays attached meanwhile. A thread that is attached and blocked outside the
interpreter keeps it waiting.
"""

from __future__ import annotations

import dataclasses
import struct

from cpython import WORD, Runtime

ATTACHED = 1
NAMES = {0: "detached", ATTACHED: "attached", 2: "suspended"}
"""The states of a thread: pycore_pystate.h."""
STOP = struct.Struct("<BBBBBxxxqQ")
"""struct _stoptheworld_state: mutex, requested, world_stopped, is_global, stop_event, thread_countdown, requester."""


@dataclasses.dataclass(frozen=True)
class World:
    """The threads of a free-threaded interpreter at one moment."""

    states: tuple[tuple[int, int], ...]
    """The kernel's number of each thread that an interpreter knows, and whether it is attached."""
    stopper: int = 0
    """The thread that stops the world and still waits for others, or 0."""
    awaited: int = 0
    """How many threads it still waits for."""
    gil: bool = False
    """Whether a GIL is switched on, as it is when a module that needs it is imported: who is attached holds it."""

    @property
    def attached(self) -> list[int]:
        """Return the threads that are attached."""
        return [thread for thread, state in self.states if state == ATTACHED]

    @property
    def keeping(self) -> list[int]:
        """Return the attached threads that keep one from stopping the world."""
        return [thread for thread in self.attached if self.stopper and thread != self.stopper]


def read(pid: int, runtimes: list[range]) -> World | None:
    """Return the threads of the first runtime that is free-threaded and understood, or None."""
    for place in runtimes:
        try:
            with Runtime(pid, place) as runtime:
                if runtime.free_threaded:
                    return _read(runtime)
        except (OSError, ValueError, OverflowError, struct.error):
            continue
    return None


def _read(runtime: Runtime) -> World:
    states: dict[int, int] = {}
    threads: dict[int, int] = {}  # by the address of its state
    places = [(runtime.place.start, len(runtime.place))]
    gil = False
    for interpreter in runtime.interpreters():
        places.append((interpreter, runtime.offset["interpreter.size"]))
        gil = gil or runtime.number(runtime.word(interpreter, "interpreter.gil"), "interpreter.enabled") > 0
        for address in runtime.threads(interpreter):
            threads[address] = runtime.word(address, "thread.native_id")
            (states[threads[address]],) = struct.unpack("<i", runtime.bytes(address + runtime.state, 4))
    return World(tuple(sorted(states.items())), *_stopper(runtime, places, threads), gil)


def _stopper(runtime: Runtime, places: list[tuple[int, int]], threads: dict[int, int]) -> tuple[int, int]:
    """Return the thread that stops the world and still waits, and for how many it waits, or zeros.

    CPython's table does not say where an interpreter, or the runtime, keeps that. But what is kept there names the
    state of the thread, and the fields before it can have few values.
    """
    wanted = {WORD.pack(address): thread for address, thread in threads.items()}
    found = {}  # by its address: the main interpreter is a part of the runtime
    for place, size in places:
        data = runtime.bytes(place, size)
        for address, thread in wanted.items():
            at = data.find(address)
            while at >= 0:
                start = at - (STOP.size - WORD.size)
                if at % WORD.size == 0 and start >= 0 and _stops(data, start, len(threads)):
                    found[place + start] = (thread, STOP.unpack_from(data, start)[5])
                at = data.find(address, at + 1)
    return next(iter(found.values())) if len(found) == 1 else (0, 0)


def _stops(data: bytes, start: int, threads: int) -> bool:
    """Report whether a stop that was asked for, and is not complete, is described there."""
    mutex, requested, stopped, is_global, event, countdown, _ = STOP.unpack_from(data, start)
    return (
        mutex in (1, 3) and requested == 1 and stopped == 0 and is_global in (0, 1) and event in (0, 2)
        and 0 < countdown < threads
    )  # fmt: skip
