"""The threads of a free-threaded interpreter, read from memory that is laid out as CPython does it."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.util
import os
import struct
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import AGENT

sys.path.insert(0, str(AGENT.parent))

import cpython
import deadlock
import frames
import gil
import waits
import world

SIZES = (4096, 2048, 512)
"""Of the runtime, an interpreter and a thread's state."""
OFFSETS = {
    "runtime.interpreters": 1024,
    "interpreter.threads": 16,
    "interpreter.size": SIZES[1],
    "interpreter.gil": 24,
    "interpreter.enabled": 40,
    "thread.next": 8,
    "thread.native_id": 64,
    "thread.status": 32,
    "thread.interpreter": 80,
}
STOP = 1000
"""The offset of what stops the world."""


@dataclasses.dataclass
class Fake:
    """A runtime with one interpreter and some threads, in this process's memory."""

    version: int = 0x030E07F0
    free: int = 1
    cookie: bytes = cpython.COOKIE
    states: tuple[tuple[int, int], ...] = ((101, 1), (102, 1), (103, 2), (104, 0))
    stop: tuple[int, ...] = (1, 1, 0, 0, 2, 1)
    """struct _stoptheworld_state, without the requester."""
    requester: int | None = 1
    """The index of the requester among the threads, None if it is none of them."""
    breaker: int = world.PLEASE_STOP
    """What each thread is asked for."""
    of_runtime: bool = False
    loop: bool = False
    gil: int = 0

    def read(self) -> world.World | None:
        """Return what is read of it."""
        series = self.version >> 16 if self.version >> 16 in cpython.TABLES else 0x030E
        names = [f"{of}.{name}" for of, words in cpython.TABLES[series].items() for name in words.split()]
        offsets = {**OFFSETS, "table.version": self.version, "table.free_threaded": self.free}
        runtime, interpreter = bytearray(SIZES[0]), bytearray(SIZES[1])
        struct.pack_into(f"<{len(names)}Q", runtime, 0, *(offsets.get(name, 0) for name in names))
        runtime[: len(self.cookie)] = self.cookie
        threads = [ctypes.create_string_buffer(SIZES[2]) for _ in self.states]
        places = [ctypes.addressof(each) for each in threads]
        for i, (number, state) in enumerate(self.states):
            after = places[i + 1] if i + 1 < len(places) else places[0] if self.loop else 0
            struct.pack_into("<Q", threads[i], OFFSETS["thread.next"], after)
            struct.pack_into("<Q", threads[i], OFFSETS["thread.interpreter"] + 8, self.breaker)
            struct.pack_into("<Q", threads[i], OFFSETS["thread.native_id"], number)
            struct.pack_into("<i", threads[i], OFFSETS["thread.status"] + cpython.STATE[series], state)
        struct.pack_into("<Q", interpreter, OFFSETS["interpreter.threads"], places[0])
        requester = 0 if self.requester is None else places[self.requester]
        world.STOP.pack_into(runtime if self.of_runtime else interpreter, STOP, *self.stop, requester)
        struct.pack_into("<Q", interpreter, 160, places[1])  # a thread is named in other places too
        whole = ctypes.create_string_buffer(bytes(runtime + interpreter))  # the main one is a part of the runtime
        start = ctypes.addressof(whole)
        its = start + len(runtime)
        struct.pack_into("<Q", whole, OFFSETS["runtime.interpreters"], its)
        struct.pack_into("<Q", whole, len(runtime) + OFFSETS["interpreter.gil"], its + 1800)
        struct.pack_into("<i", whole, len(runtime) + 1800 + OFFSETS["interpreter.enabled"], self.gil)
        return world.read(os.getpid(), [range(8, 16), range(start, start + len(runtime) + len(interpreter))])


@pytest.mark.parametrize("version", [0x030D0FF0, 0x030E07F0, 0x030F00F0])
@pytest.mark.parametrize("of_runtime", [False, True])
def test_who_stops_the_world(version: int, of_runtime: bool) -> None:
    seen = Fake(version=version, of_runtime=of_runtime).read()
    assert seen == world.World(((101, 1), (102, 1), (103, 2), (104, 0)), stopper=102, awaited=1)
    assert seen is not None and seen.attached == [101, 102] and seen.keeping == [101]
    assert Fake(version=version, of_runtime=of_runtime, gil=1).read() == dataclasses.replace(seen, gil=True)


def test_a_stranger_stops_the_world() -> None:
    """A thread that attaches for the first time stops the world before its state has its number."""
    states = ((101, 1), (103, 2), (0, 2))
    seen = Fake(requester=None, states=states).read()
    assert seen == world.World(((101, 1), (103, 2)), stopper=world.UNKNOWN, awaited=1)
    assert seen is not None and seen.keeping == [101]
    assert (seen.stops([200]), seen.stops([103, 200])) == (200, 200)
    assert [seen.stops(timed) for timed in ([], [103], [200, 201])] == [0, 0, 0]
    not_asked = Fake(requester=None, states=states, breaker=0).read()
    assert not_asked is not None and not_asked.stopper == 0


@pytest.mark.parametrize(
    "stop",
    [
        (0, 1, 0, 0, 2, 1),  # no mutex
        (1, 0, 0, 0, 2, 1),  # not asked for
        (1, 1, 1, 0, 2, 1),  # complete
        (1, 1, 0, 2, 2, 1),
        (1, 1, 0, 0, 1, 1),  # the event is set
        (1, 1, 0, 0, 2, 0),  # for no thread
        (1, 1, 0, 0, 2, -1),
        (1, 1, 0, 0, 2, 4),  # for more than there are
    ],
)
def test_nobody_stops_the_world(stop: tuple[int, ...]) -> None:
    seen = Fake(stop=stop).read()
    assert seen is not None and (seen.stopper, seen.keeping, len(seen.states)) == (0, [], 4)


@pytest.mark.parametrize(
    "fake",
    [
        Fake(free=0),
        Fake(version=0x030B0BF0),
        Fake(version=0x03630000),
        Fake(cookie=b"xdebugpz"),
        Fake(loop=True),
    ],
)
def test_memory_that_is_not_understood(fake: Fake) -> None:
    assert fake.read() is None


def test_lines() -> None:
    """Those of each instruction of real functions, as this Python tells them."""
    seen = 0
    for code in functions(importlib.util.find_spec("argparse"), importlib.util.find_spec("dataclasses")):
        ours = frames.Code("", "", code.co_firstlineno, code.co_linetable)
        for unit, (line, *_) in enumerate(code.co_positions()):
            assert frames.line_of(ours, unit) == (line or 0), (code, unit)
            seen += 1
    assert seen > 10_000 and frames.line_of(frames.Code("", "", 1, b""), 7) == 0


def functions(*specs: Any) -> Iterator[types.CodeType]:
    """Return the code objects of modules."""
    left = [compile(Path(spec.origin).read_text(), spec.origin, "exec") for spec in specs]
    while left:
        code = left.pop()
        yield code
        left += [each for each in code.co_consts if isinstance(each, types.CodeType)]


def test_python_frames_between_native_ones() -> None:
    """Each call of the evaluation loop ran one group."""

    def named(*names: str) -> list[dict[str, Any]]:
        return [{"name": name} for name in names]

    loop = frames.LOOP
    assert frames.merge(named("wait", loop, "call", loop, "main"), [named("a", "b"), named("c")]) == named(
        "wait", "a", "b", "call", "c", "main"
    )
    assert frames.merge(named("wait", loop, loop), [named("a")]) == named("wait", "a", loop)
    assert frames.merge(named("wait"), [named("a"), named("b")]) == named("wait", "a", "b")  # no names in the loop
    assert frames.merge([], [named("a")]) == named("a")


def test_a_stack_that_was_cut() -> None:
    """py-spy's Python frames have the places between gdb's that py-spy would have found."""

    native = {"name": "0x7f01", "module": "/lib/libc.so.6", "is_entry": True, "is_shim_entry": True}
    for mark in ("is_entry", "is_shim_entry"):  # of CPython 3.11, and later
        python = [{"name": name, "module": None, mark: name != "g"} for name in ("g", "lt", "main")]
        assert frames.cut([native, *python])
        assert not frames.cut([native, *python, native]) and not frames.cut(python) and not frames.cut([])
        assert frames.grouped([native, *python]) == [python[:2], python[2:]]


STUCK = """
import ctypes, gc, sys, threading, time
mutex, lock = ctypes.create_string_buffer(64), ctypes.PyDLL(None).pthread_mutex_lock
class Übergabe:
    def holds(self):
        lock(mutex)
        lock(mutex)  # attached
threading.Thread(target=sorted, args=([1],), kwargs={"key": lambda _: Übergabe().holds()}, daemon=True).start()
time.sleep(0.5)
print("stops", flush=True)
gc.collect()
"""


@pytest.mark.skipif("PYO3TEST_FREE_THREADED" not in os.environ, reason="no free-threaded Python here")
def test_a_real_one(tmp_path: Path) -> None:
    """A thread that is attached and blocked in C keeps the garbage collector waiting."""
    (tmp_path / "stuck.py").write_text(STUCK)
    python = os.environ["PYO3TEST_FREE_THREADED"]
    with subprocess.Popen([python, "stuck.py"], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"stops\n"
            time.sleep(0.5)
            runtimes = gil.runtimes(gil.mappings(process.pid))
            seen = world.read(process.pid, runtimes)
            assert seen is not None and seen.stopper == process.pid and not seen.gil
            (keeper,) = seen.keeping
            its = waits.of(process.pid, 9)
            assert its[process.pid].stops_world and (its[keeper].state, its[keeper].call) == ("attached", "futex")
            groups = frames.read(process.pid, runtimes)
            assert groups is not None and [frame["line"] for frame in groups[process.pid][0]] == [11]
            names = [[frame["name"] for frame in group] for group in groups[keeper]]
            assert names[0] == ["Übergabe.holds", "<lambda>"] and len(names) == 3, names
            assert [frame["line"] for frame in groups[keeper][0]] == [7, 8]
            watch = deadlock.Watch(0)
            proofs: list[deadlock.Proof] = []
            watch.begin(process.pid, time.monotonic())
            while not proofs:
                time.sleep(watch.pause(time.monotonic()))
                proofs = watch.step(time.monotonic())
            assert "stops the world, which cannot stop while one is attached: " + str(keeper) in proofs[0].text
        finally:
            process.kill()


def test_a_stop_is_read_until_it_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    """One torn read hides no stop, and a world that is stopped again and again is not one that stays so."""
    running, stopped, another = world.World(()), world.World((), 7, 1), world.World((), 8, 1)
    monkeypatch.setattr(world, "MOMENT", 0)
    for reads, stopper in (
        ([running, stopped, stopped], 7),
        ([stopped, running, stopped, stopped], 7),
        ([running, running], 0),
        ([stopped, another] * 4, 0),
    ):
        following = iter(reads)
        monkeypatch.setattr(world, "read", lambda pid, runtimes, following=following: next(following))
        settled = world.settled(1, [])
        assert settled is not None and settled.stopper == stopper, reads
