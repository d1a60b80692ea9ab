"""The threads of a free-threaded CPython, in which no thread holds a GIL.

Each thread that the interpreter knows is attached to it (it may use objects), detached, or suspended. A thread that
needs all others to hold still, as the garbage collector does, stops the world: it waits, in steps of a millisecond,
until no other thread is attached, and it stays attached meanwhile. A thread that is attached and blocked outside the
interpreter keeps it waiting.
"""

from __future__ import annotations

import dataclasses
import struct
import time

from cpython import WORD, Runtime, free_threaded

ATTACHED = 1
NAMES = {0: "detached", ATTACHED: "attached", 2: "suspended"}
"""The states of a thread: pycore_pystate.h."""
UNKNOWN = -1
"""A thread that the interpreter does not know yet: in 3.13 the first one beside the main thread, while it attaches."""
PLEASE_STOP = 1 << 5
"""What asks an attached thread to stop, in its eval_breaker: _PY_EVAL_PLEASE_STOP_BIT of pycore_ceval.h."""
STOP = struct.Struct("<BBBBBxxxqQ")
"""struct _stoptheworld_state: mutex, requested, world_stopped, is_global, stop_event, thread_countdown, requester."""
MOMENT = 0.05
"""Seconds after which a stop that settled returns is still the same."""
TRIES = 5
"""How often it is looked for."""
MUTEX = (1, 3)
"""A PyMutex that is locked, without and with a thread that waits for it."""


@dataclasses.dataclass(frozen=True)
class World:
    """The threads of a free-threaded interpreter at one moment."""

    states: tuple[tuple[int, int], ...]
    """The kernel's number of each thread that an interpreter knows, and whether it is attached."""
    stopper: int = 0
    """The thread that stops the world and still waits for others, or 0; UNKNOWN if the interpreter does not know it."""
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

    def stops(self, timed: list[int]) -> int:
        """Return the thread that stops the world, given all threads that wait with a timeout, or 0."""
        if self.stopper != UNKNOWN:
            return self.stopper
        known = {thread for thread, _ in self.states}
        strangers = [thread for thread in timed if thread not in known]
        return strangers[0] if len(strangers) == 1 else 0


def read(pid: int, runtimes: list[range]) -> World | None:
    """Return the threads of the first runtime that is free-threaded and understood, or None."""
    return free_threaded(pid, runtimes, _read)


def settled(pid: int, runtimes: list[range]) -> World | None:
    """Return the threads as read does, and who stops the world only if nothing about that changes for a moment.

    A world is stopped often, for a moment each time: a thread that runs Python code soon holds still. A read while a
    thread runs for a moment may show something else, so it is tried again.
    """
    last = read(pid, runtimes)
    for _ in range(TRIES):
        if last is None:
            return None
        time.sleep(MOMENT if last.stopper else 0)
        first, last = last, read(pid, runtimes)
        if last is None or not (first.stopper or last.stopper):
            return last
        if (last.stopper, last.awaited, last.keeping) == (first.stopper, first.awaited, first.keeping):
            return last
    assert last is not None
    return dataclasses.replace(last, stopper=0, awaited=0)


def _read(runtime: Runtime) -> World:
    states: dict[int, int] = {}
    threads: dict[int, int] = {}  # by the address of its state
    asked: list[bool] = []
    places = [(runtime.place.start, len(runtime.place))]
    gil = False
    for interpreter in runtime.interpreters():
        places.append((interpreter, runtime.offset["interpreter.size"]))
        gil = gil or runtime.number(runtime.word(interpreter, "interpreter.gil"), "interpreter.enabled") > 0
        for address in runtime.threads(interpreter):
            threads[address] = runtime.word(address, "thread.native_id")
            (states[threads[address]],) = struct.unpack("<i", runtime.data(address + runtime.state, 4))
            if states[threads[address]] == ATTACHED:  # eval_breaker is the word after the interpreter
                asked.append(runtime.word(address + WORD.size, "thread.interpreter") & PLEASE_STOP != 0)
    stops = _stops(runtime, places, threads)
    known = [(threads[requester], awaited) for requester, awaited in stops if requester]
    unknown = [(UNKNOWN, awaited) for requester, awaited in stops if not requester and asked and all(asked)]
    stopper, awaited = next((each[0] for each in (known, unknown) if len(each) == 1), (0, 0))
    states.pop(0, None)  # the state of a thread that does not have it yet
    return World(tuple(sorted(states.items())), stopper, awaited, gil)


def _stops(runtime: Runtime, places: list[tuple[int, int]], threads: dict[int, int]) -> list[tuple[int, int]]:
    """Return the stops that were asked for and are not complete: by whom (0 without a state), and how many are awaited.

    CPython's table does not say where an interpreter, or the runtime, keeps them. But the fields can have few values,
    and the last one is the state of a thread, or none.
    """
    found = {}  # by its address: the main interpreter is a part of the runtime
    for place, size in places:
        data = runtime.data(place, size)
        for mutex in MUTEX:
            head = bytes((mutex, 1, 0))  # requested, and not stopped
            at = data.find(head)
            while 0 <= at <= len(data) - STOP.size:
                is_global, event, awaited, requester = STOP.unpack_from(data, at)[3:]
                others = len(threads) - (requester in threads)
                fits = is_global in (0, 1) and event in (0, 2) and 0 < awaited <= others
                if at % WORD.size == 0 and fits and (requester in threads or not requester):
                    found[place + at] = (requester, awaited)
                at = data.find(head, at + 1)
    return list(found.values())
