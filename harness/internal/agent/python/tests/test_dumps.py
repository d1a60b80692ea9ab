"""Stacks of a process that waits, and what /proc adds to them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import AGENT, Suite, Talk

sys.path.insert(0, str(AGENT.parent))
sys.path.insert(0, str(AGENT.parent / "site"))

import dumps
import procs
import running
import waits

JOINS = """
import ctypes
libc = ctypes.CDLL(None)
libc.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER: any process of the same user
thread = ctypes.c_void_p()
assert libc.pthread_create(ctypes.byref(thread), None, libc.pause, None) == 0
print("", flush=True)
{}
"""


@contextlib.contextmanager
def waiting(line: str) -> Iterator[tuple[int, int]]:
    """Yield a process that is stopped at a line of Python, and the number of its other thread."""
    with subprocess.Popen([sys.executable, "-c", JOINS.format(line)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.5)
            (other,) = set(procs.threads(process.pid)) - {process.pid}
            yield process.pid, other
        finally:
            process.kill()


@pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb, which sees the stacks after Python's end")
def test_a_thread_that_is_joined_at_exit() -> None:
    """A handler of C's atexit joins it after Python's own end, and a stripped libc has no names for its frames."""
    with waiting("libc.__cxa_atexit(libc.pthread_join, thread, None)") as (pid, other):
        assert waits.of(pid, 9)[pid] == waits.Wait("futex", joins=other)
        dump = dumps.Dump(pid, "x", "", 0)
        while not dump.done:
            dump.step()
            time.sleep(0.01)
    seen = {thread["os_thread_id"]: thread["wait"] for thread in dump.result["stacks"]}
    assert (seen[pid]["joins"], seen[other]["call"]) == (other, "pause"), dump.result["error"]


def test_a_thread_that_is_not_joined() -> None:
    """Another thread waits at a word of its own that holds the thread's number."""
    line = "import os; word = ctypes.c_uint32(max(map(int, os.listdir('/proc/self/task')))); "
    line += f"libc.syscall({waits.number('futex')}, ctypes.byref(word), 128, word.value, None)"
    with waiting(line) as (pid, other):
        call = waits.call(pid, pid)
        assert call is not None and call.waits and call.value == other
        assert waits.of(pid, 9)[pid] == waits.Wait("futex")


@pytest.mark.parametrize(("innermost", "asks"), [("atexit_callfuncs", False), ("_PyEval_EvalFrameDefault.cold", True)])
def test_a_free_threaded_process_without_python_frames(innermost: str, asks: bool) -> None:
    """Where none runs, as in a handler at exit, faulthandler has nothing to add."""
    dump = dumps.Dump(os.getpid(), "x", "", 0)
    dump.python = {}
    dump.native = [{"thread_name": "python", "os_thread_id": os.getpid(), "frames": [{"name": innermost}]}]
    dump._after_gdb()
    dump.step()
    assert [each["thread_name"] for each in dump.result["stacks"]] == ["MainThread"]
    assert ("faulthandler" in dump.result["error"]) == asks


WANTS_GIL = """
import ctypes, threading
libc = ctypes.PyDLL(None)  # keeps the GIL
threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()
print("", flush=True)
libc.pause()
"""


def test_a_thread_that_wants_the_gil() -> None:
    """It waits in steps, and the kernel and the GIL itself show what for."""
    with subprocess.Popen([sys.executable, "-c", WANTS_GIL], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.5)
            (other,) = set(procs.threads(process.pid)) - {process.pid}
            found = waits.of(process.pid, 9)
            assert found == {process.pid: waits.Wait("pause"), other: waits.Wait("futex", wants_gil=True)}
        finally:
            process.kill()


def test_an_agent_says_which_tests_run(suite: Suite) -> None:
    """It is asked from outside, in the middle of what it does."""
    suite.write(test_a="import time\ndef test_1(): time.sleep(1)\ndef test_2(): time.sleep(1)\n")
    seen: dict[int, str] = {}

    def on(talk: Talk, event: dict[str, Any]) -> None:
        if event["ev"] == "start":
            seen[event["pid"]] = running.ask()[event["pid"]]  # other agents, of other tests, answer too

    run = suite.run(on=on, workers=2)
    assert seen == {run.finish(name)["pid"]: f"test_a.py::{name}" for name in ("test_1", "test_2")}
    assert set(run.verdicts().values()) == {"passed"}


def test_faulthandler_that_is_interrupted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A text that does not grow is not complete while its writer is ready to run: it may wait for a processor."""
    stacks = tmp_path / "stacks.log"
    stacks.write_text("Current thread\n")
    states = iter("RRRS")
    monkeypatch.setattr(procs, "threads", lambda pid: [7])
    monkeypatch.setattr(procs, "state", lambda pid, thread: next(states))
    dump = dumps.Dump.__new__(dumps.Dump)
    dump.pid, dump.stacks_file, dump.offset, dump.size = 7, str(stacks), 0, -1
    dump.deadline, dump.errors = time.monotonic() + 60, []
    texts: list[str] = []
    monkeypatch.setattr(dump, "_threads", lambda: None)
    monkeypatch.setattr(dump, "_finish", lambda stacks, text: texts.append(text))
    for part in ("", "  in f\n", "", ""):
        assert not texts
        stacks.write_text(stacks.read_text() + part)
        dump._await_faulthandler()
    assert texts == ["Current thread\n  in f"]
