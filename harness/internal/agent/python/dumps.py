"""Stacks of a process that does not move: py-spy, gdb for what py-spy misses, faulthandler's signal, /proc."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable

import facts
import frames
import gdb
import gil
import procs
import waits
import world

ATTEMPTS = (
    (("--json", "--native"), 5.0),
    (("--json",), 3.0),
    (("--json", "--nonblocking"), 3.0),
)
"""Options of `py-spy dump`, and the seconds that each may take. Native frames require that the target is stopped."""

GDB_WAIT = 5.0
GDB_ALONE = 8.0
"""Seconds for gdb where py-spy has not taken any, in a free-threaded interpreter."""
FAULTHANDLER_WAIT = 1.0
MAX_OUTPUT = 8 << 20


def find_py_spy() -> str | None:
    """Return the py-spy beside this Python, or the one on the PATH."""
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "py-spy")
    return beside if os.access(beside, os.X_OK) else shutil.which("py-spy")


class Dump:
    """One dump in progress. `step` never waits; `result` is set when `done` is true."""

    def __init__(self, pid: int, name: str, stacks: str, stacks_signal: int) -> None:
        self.pid = pid
        self.name = name
        self.pace = facts.pace(pid)  # before a tool stops the process
        self.crowd = procs.crowd()
        self.waits: dict[int, waits.Wait] = {}
        self.python: dict[int, list[list[dict[str, Any]]]] | None = None
        """The Python frames by thread, if the interpreter is free-threaded."""
        self.holders: list[int] = []
        """Where its GIL is switched on, the thread that is attached: it has the GIL."""
        if self.crowd:  # or no other process would get a turn
            procs.send_group(pid, signal.SIGSTOP)
        else:
            self.waits = waits.of(pid, facts.MOST)
            self._look_at_python()
        self.stacks_file = stacks
        self.signal = stacks_signal
        self.errors: list[str] = []
        self.attempts = list(ATTEMPTS)
        self.tool = find_py_spy()
        self.child: subprocess.Popen[bytes] | None = None
        self.output: Any = None
        self.deadline = 0.0
        self.offset = 0
        self.size = -1
        self.stacks: list[Any] | None = None
        self.native: list[Any] = []
        self.states: dict[int, str] = {}
        self.done = False
        self.result: dict[str, Any] = {}
        self._next: Callable[[], None] = self._start_tool
        if self.tool is None:
            self.errors.append("py-spy is not installed beside the agent")

    def _look_at_python(self) -> None:
        """See a free-threaded interpreter, which py-spy does not know, while its process runs."""
        try:
            runtimes = gil.runtimes(gil.mappings(self.pid))
        except OSError:
            return
        self.python = frames.read(self.pid, runtimes)
        its = world.read(self.pid, runtimes)
        threads = procs.threads(self.pid)
        if self.python is not None:  # without states that their threads have left behind
            self.python = {of: groups for of, groups in self.python.items() if of in threads and any(groups)}
        self.holders = its.attached if its is not None and its.gil else []

    def step(self) -> None:
        """Proceed as far as possible now."""
        while not self.done:
            before = self._next
            self._next()
            if self._next == before:
                return

    def cancel(self) -> None:
        """Kill a running tool."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child = None

    def abort(self, why: str) -> None:
        """Finish with what is known so far."""
        self.cancel()
        self.errors.append(why)
        self._finish(None, "")

    def _finish(self, stacks: Any, text: str) -> None:
        self.done = True
        for thread in stacks or []:
            if thread.get("os_thread_id") in self.waits:
                thread["wait"] = dataclasses.asdict(self.waits[thread["os_thread_id"]])
        error = "; ".join(self.errors)
        self.result = {"id": self.name, "pid": self.pid, "stacks": stacks, "text": text, "error": error}
        self.result["pace"] = self.pace
        self.result["facts"] = facts.of(self.pid)
        self.result["crowd"] = self.crowd
        self.result["parent_threads"] = facts.parents_threads(self.pid)
        if self.crowd:
            procs.send_group(self.pid, signal.SIGCONT)

    def _start_tool(self) -> None:
        process = procs.look(self.pid)
        if process is None or process.dead:
            self.errors.append("the process is gone")
            self._finish(None, "")
            return
        if self.tool is None or not self.attempts or self.python is not None:
            self._next = self._start_gdb
            return
        options, seconds = self.attempts.pop(0)
        self.output = tempfile.TemporaryFile()
        command = [self.tool, "dump", "--pid", str(self.pid), *options]
        try:
            self.child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT, close_fds=True
            )
        except OSError as error:
            self.errors.append(f"py-spy: {error}")
            self.tool = None
            return
        self.deadline = time.monotonic() + seconds
        self._options = " ".join(options)
        self._next = self._await_tool

    def _await_tool(self) -> None:
        assert self.child is not None
        late = time.monotonic() > self.deadline
        if self.child.poll() is None and not late:
            return
        status = self.child.returncode
        self.cancel()
        self.output.seek(0)
        data = self.output.read(MAX_OUTPUT)
        self.output.close()
        if late and status is None:
            self.errors.append(f"py-spy {self._options}: no answer in time")
        elif status == 0:
            self.stacks = _parse(data)
        if self.stacks is not None:
            self._next = self._start_gdb
            return
        if status is not None:
            words = data.decode("utf-8", "replace").strip()
            self.errors.append(f"py-spy {self._options}: status {status}: {words[-500:]}")
        self._next = self._start_tool

    def _start_gdb(self) -> None:
        """Run gdb for what py-spy misses.

        That is: threads that Python does not know, all of them after Python's end, and frames where it lost its way.
        """
        seen = {thread.get("os_thread_id") for thread in self.stacks or [] if not frames.cut(thread["frames"])}
        threads = procs.threads(self.pid)
        if self.stacks is not None and seen.issuperset(threads):
            self._after_gdb()
            return
        self.states = {thread: procs.state(self.pid, thread) for thread in threads}
        command = gdb.command(self.pid)
        if command is None:
            self.errors.append("native stacks are missing: the image has no gdb, install it in the base image")
            self._after_gdb()
            return
        self.output = tempfile.TemporaryFile()
        try:
            self.child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT, close_fds=True
            )
        except OSError as error:
            self.errors.append(f"gdb: {error}")
            self._after_gdb()
            return
        self.deadline = time.monotonic() + (GDB_WAIT if self.python is None else GDB_ALONE)
        self._next = self._await_gdb

    def _await_gdb(self) -> None:
        assert self.child is not None
        late = time.monotonic() > self.deadline
        if self.child.poll() is None and not late:
            return
        self.cancel()
        self.output.seek(0)
        text = self.output.read(MAX_OUTPUT).decode("utf-8", "replace")
        self.output.close()
        found = {thread["os_thread_id"]: thread for thread in gdb.parse(text) if thread["frames"]}
        for thread in found.values():
            thread.update(active=self.states.get(thread["os_thread_id"]) == "R", owns_gil=False)
        gained = False
        for thread in self.stacks or []:
            its = found.pop(thread.get("os_thread_id"), None)
            if its is not None and frames.cut(thread["frames"]):
                thread["frames"] = frames.merge(its["frames"], frames.grouped(thread["frames"]))
                gained = True
        if not found and not gained:
            self.errors.append("gdb: no answer in time" if late else f"gdb: {text.strip()[-300:]}")
        self.native = [*(self.stacks or []), *found.values()]
        self._after_gdb()

    def _threads(self) -> list[Any] | None:
        """Return the threads, None if none could be seen."""
        return (self.native if self.python is None else self._with_python()) or None

    def _with_python(self) -> list[dict[str, Any]]:
        """Return the threads with their Python frames, those of Python alone if gdb could not see them."""
        assert self.python is not None
        native = {thread["os_thread_id"]: thread for thread in self.native}
        found = []
        for thread in dict.fromkeys([*native, *self.python]):
            active = self.states.get(thread) == "R"
            its = native.get(thread, {"thread_name": None, "os_thread_id": thread, "active": active, "frames": []})
            its["frames"] = frames.merge(its["frames"], self.python.get(thread, []))
            its["owns_gil"] = thread in self.holders
            if thread == self.pid:
                its["thread_name"] = "MainThread"
            found.append(its)
        return found

    def _after_gdb(self) -> None:
        """Finish if Python's frames are known; otherwise get them from faulthandler."""
        if self.python is not None and self._is_whole():
            self._finish(self._threads(), "")
        elif self.stacks is not None:
            self._finish(self.native or self.stacks, "")
        else:
            self._next = self._start_faulthandler

    def _is_whole(self) -> bool:
        """Report whether Python's frames were read, or there are none, as in a handler that runs at exit."""
        if self.python or not self.native:
            return bool(self.python)
        return not any(frames.is_loop(frame) for thread in self.native for frame in thread["frames"])

    def _start_faulthandler(self) -> None:
        if not self.signal or not procs.catches(self.pid, self.signal):
            self.errors.append("faulthandler: the process does not listen to its signal")
            self._finish(self._threads(), "")
            return
        try:
            self.offset = os.path.getsize(self.stacks_file)
        except OSError:
            self.offset = 0
        procs.send(self.pid, self.signal)
        self.deadline = time.monotonic() + FAULTHANDLER_WAIT
        self._next = self._await_faulthandler

    def _await_faulthandler(self) -> None:
        """Wait until the text is complete: it has not grown between two checks, and no thread could write more.

        A writer that waits for a processor is ready to run, which is state R too.
        """
        try:
            size = os.path.getsize(self.stacks_file)
        except OSError:
            size = 0
        grown = size > self.offset
        writes = any(procs.state(self.pid, thread) == "R" for thread in procs.threads(self.pid))
        settled = grown and size == self.size and not writes
        self.size = size
        if not settled and time.monotonic() < self.deadline:
            return
        text = ""
        if grown:
            with open(self.stacks_file, "rb") as file:
                file.seek(self.offset)
                text = file.read(MAX_OUTPUT).decode("utf-8", "replace")
        else:
            self.errors.append("faulthandler: nothing was written")
        self._finish(self._threads(), text.strip())


def _parse(data: bytes) -> Any:
    """Return the stacks in py-spy's JSON, which may have messages before it."""
    start = data.find(b"[")
    while start >= 0:
        try:
            stacks = json.loads(data[start:])
        except ValueError:
            start = data.find(b"[", start + 1)
            continue
        return stacks if isinstance(stacks, list) else None
    return None
