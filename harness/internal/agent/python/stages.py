"""The two jobs of an agent: importing the modules, and running pytest."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import resource
import selectors
import shutil
import signal
import stat
import subprocess
import time
from typing import Any, Protocol

import deadlock
import gdb
import outputs
import procs
import protocol
from pressure import Pressure
from pyo3test_plugin import memory
from pyo3test_plugin.linux import HIGH, signal_name
from relay import Splitter

LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py")
SETTINGS_VARIABLE = "PYO3TEST_PLUGIN"
STACKS_SIGNAL = getattr(signal, "SIGRTMIN", 34) + 14 if hasattr(signal, "SIGRTMIN") else 0
LOG_TAIL = 64 << 10
MAX_STACKS = 4 << 20
"""Bytes of gdb's output that are searched for the stacks of a crash."""
JUNIT_PIECE = 192 << 10
"""Bytes; in base64 a line has 256 KiB."""
JUNIT_LIMIT = 64 << 20
"""Bytes; the largest seen in a real project is 2 MB."""
GARBAGE = 10
"""How many lines that are not events are reported one by one; any more are only counted."""
LAST_WORDS = 4 << 10
"""Characters of pytest's output that are reported with its untimely end."""

DISK_MARGIN = 1 << 20
"""Bytes; with less free space, reports of a usual size are cut off."""

PYTEST_ARGS = [
    # pytest-forked's plugin adds --forked too, which is an error.
    "-p", "no:forked",
    "-p", "pyo3test_plugin.hooks",
    "--continue-on-collection-errors",
    # With a limit, a failing forked test hangs forever.
    "-o", "faulthandler_timeout=0",
]  # fmt: skip


class Host(Protocol):
    """What a job needs from the agent."""

    selector: selectors.BaseSelector

    def say(self, kind: str, **fields: Any) -> None:
        """Send an event."""

    def flush(self) -> None:
        """Write the waiting lines."""

    def relay_event(self, line: bytes) -> None:
        """Pass on a line from the plugin."""

    def awaited(self) -> set[int]:
        """Return the agent's own children whose exit status is still needed."""


def check(command: dict[str, Any]) -> None:
    """Refuse a start command that cannot work, and say why."""
    if wrong := protocol.wrong_command(command):
        raise ValueError(wrong)
    if command["isolation"] not in ("forked", "subprocess", "inprocess"):
        raise ValueError("isolation must be forked, subprocess or inprocess")
    if command["workers"] < 0:
        raise ValueError("workers must be a number, 0 or more")


def restore(tree: str | None, into: str | None) -> None:
    """Copy the build's files over the sources."""
    if tree and into and os.path.isdir(tree):
        shutil.copytree(tree, into, symlinks=True, dirs_exist_ok=True)


def full(folder: str) -> bool:
    """Report whether the disk is full: then that, and no setting, is why pytest's reports are incomplete."""
    try:
        disk = os.statvfs(folder)
    except OSError:  # a test removed it
        return False
    return disk.f_bavail * disk.f_frsize < DISK_MARGIN


def high_pipe(ours_reads: bool) -> tuple[int, int]:
    """Return a pipe (ours, theirs) whose other end has a descriptor number that tests seldom touch."""
    reading, writing = os.pipe()
    ours, theirs = (reading, writing) if ours_reads else (writing, reading)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    base = HIGH if limit == resource.RLIM_INFINITY else max(3, min(HIGH, limit - 40))
    moved = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, base)
    os.close(theirs)
    os.set_blocking(ours, False)
    return ours, moved


def _state(path: str) -> list[int]:
    """Return what changes when a file is written to, without reading the file."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


class Job:
    """A process of the test environment's Python, and the pipe on which it reports."""

    log_name = ""

    def __init__(
        self, agent: Host, command: dict[str, Any], args: list[str], fds: list[int], pipe: int, under: list[str]
    ) -> None:
        self.agent = agent
        self.command = command
        self.pipe = pipe
        self.splitter = Splitter()
        self.killed_because = ""
        self.pressure = Pressure(command["pressure"], command["out"]) if command.get("pressure") else None
        self.log = os.path.join(command["out"], self.log_name)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*under, command["python"], LAUNCHER, *args],
                cwd=command["cwd"],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=fds,
                start_new_session=True,
            )
        for fd in fds:
            os.close(fd)
        self.pid = self.process.pid
        self.deadlocks = deadlock.Watch(STACKS_SIGNAL)
        self.observe(self.pid)
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            self.pidfd = -1
        if self.pidfd >= 0:
            agent.selector.register(self.pidfd, selectors.EVENT_READ, self._nothing)
        agent.selector.register(self.pipe, selectors.EVENT_READ, self.read)

    def environment(self) -> dict[str, str]:
        """Return the complete environment of the process. A module with hooks needs the library to be imported."""
        env = {str(name): str(value) for name, value in self.command["env"].items()}
        return self.pressure.environment(env) if self.pressure is not None else env

    def observe(self, pid: int) -> None:
        """Start checking whether this process can still make progress by itself."""
        if not self.command.get("no_deadlock_proof"):
            self.deadlocks.begin(pid, time.monotonic())

    @property
    def has_pidfd(self) -> bool:
        """Report whether the end of the process wakes the loop."""
        return self.pidfd >= 0

    def _nothing(self) -> None:
        """Do nothing: the loop itself checks whether the process has ended."""

    def ended(self) -> bool:
        """Report whether the process has ended."""
        return self.process.poll() is not None

    def how(self) -> tuple[int | None, int | None]:
        """Return the exit status and the signal, one of them None."""
        status = self.process.returncode
        return (None, -status) if status < 0 else (status, None)

    def read(self) -> bool:
        """Read what the pipe holds and report whether there was anything."""
        if self.pipe < 0:
            return False
        try:
            data = os.read(self.pipe, 1 << 18)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.agent.selector.unregister(self.pipe)
            os.close(self.pipe)
            self.pipe = -1
            return False
        for line in self.splitter.feed(data):
            self.take(line)
        self.agent.flush()
        return True

    def take(self, line: bytes) -> None:
        """Handle one line of the pipe."""
        raise NotImplementedError

    def drain(self, deadline: float) -> None:
        """Read what is left, but not to the end of the pipe: a process that escaped may hold it open."""
        while time.monotonic() < deadline and self.read():
            pass
        rest = self.splitter.rest()
        if rest:
            self.take(rest)
        self.agent.flush()

    def settle(self) -> None:
        """Note what can be seen only before all other processes are killed."""
        if self.pressure is not None:
            self.pressure.settle()

    def conclude(self) -> bool:
        """Report the end of the job; return whether the next one may begin."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self.pipe, self.pidfd):
            if fd >= 0:
                self.agent.selector.unregister(fd)
                os.close(fd)
        self.pipe = self.pidfd = -1

    def log_tail(self, limit: int = LOG_TAIL) -> str:
        """Return the end of what the process printed."""
        try:
            with open(self.log, "rb") as log:
                size = os.fstat(log.fileno()).st_size
                log.seek(max(0, size - limit))
                return log.read(limit).decode("utf-8", "replace")
        except OSError:
            return ""


class Import(Job):
    """Imports the built modules in a process of their own, before any test may skip itself because one is missing."""

    log_name = "import.log"

    def __init__(self, agent: Host, command: dict[str, Any]) -> None:
        self.results: list[dict[str, Any]] = []
        self.at = ""
        ours, theirs = high_pipe(ours_reads=True)
        super().__init__(agent, command, ["import", str(theirs), json.dumps(command["imports"])], [theirs], ours, [])

    def take(self, line: bytes) -> None:
        """Handle a result, or the name of the module that comes next."""
        try:
            result = json.loads(line)
        except ValueError:
            return
        if not isinstance(result, dict):
            return
        if "importing" in result:
            self.at = str(result["importing"])
            return
        self.at = ""
        self.results.append(result)
        fields = {name: result[name] for name in ("module", "ok", "file", "error", "traceback") if name in result}
        self.agent.say("import", **fields)

    def conclude(self) -> bool:
        """Check that all modules were imported and that the process ended by itself."""
        status, number = self.how()
        if self.pressure is not None:
            self.pressure.end()
        missing = len(self.results) < len(self.command["imports"])
        if missing or status != 0:
            if self.killed_because:
                error = self.killed_because
            elif number is not None:
                error = f"the importing process died: {signal_name(number)}"
            else:
                error = f"the importing process ended with status {status}"
            module = self.at or (self.command["imports"][len(self.results)]["name"] if missing else "")
            self.agent.say("import", ok=False, module=module, file="", error=error, traceback=self.log_tail())
            return False
        return all(result.get("ok") is True for result in self.results)


class Pytest(Job):
    """Runs the tests."""

    log_name = "pytest.log"

    def __init__(self, agent: Host, command: dict[str, Any]) -> None:
        out = command["out"]
        self.stacks = os.path.join(out, "stacks.log")
        self.waiting_words = b""
        self.first_tick: int | None = None
        self.memory = memory.Watch()
        self.finished = False
        self.running: dict[int, str] = {}
        """The node ids of the running tests by pid. Each is also the number of the test's process group."""
        self.told_gone: set[int] = set()
        """Those of them that have ended and whose end was reported."""
        self.names: list[str] = []
        """The node ids, by index."""
        self.tests: dict[str, bool] = {}
        """By node id, whether the end of the test was reported."""
        self.garbage = 0
        events, events_theirs = high_pipe(ours_reads=True)
        self.control, control_theirs = high_pipe(ours_reads=False)
        self.settings = {
            "events": events_theirs,
            "control": control_theirs,
            "isolation": command["isolation"],
            "workers": command.get("workers", 0),
            "out": out,
            "stacks": self.stacks,
            "stacks_signal": STACKS_SIGNAL,
            "modules": [{**module, "state": _state(module["file"])} for module in command["imports"]],
            "pressure": None,
        }
        self.junit = os.path.join(out, "junit.xml")
        junit = f"--junitxml={self.junit}"
        args = ["run", *PYTEST_ARGS, junit, *[str(arg) for arg in command["args"]]]
        under = gdb.runner() if command.get("debugger") else []
        super().__init__(agent, command, args, [events_theirs, control_theirs], events, under)
        if self.pressure is not None:
            self.pressure.begin()

    def environment(self) -> dict[str, str]:
        """Add one variable, which the plugin removes before any test sees it."""
        if self.pressure is not None:
            self.settings["pressure"] = self.pressure.plugin()
        return {**super().environment(), SETTINGS_VARIABLE: json.dumps(self.settings)}

    def take(self, line: bytes) -> None:
        """Handle an event of the plugin."""
        self.agent.relay_event(line)

    def tell(self, words: dict[str, Any]) -> None:
        """Send a message to the plugin. Never waits: what does not fit now is sent later."""
        if self.first_tick is None and "run" in words:
            self.first_tick = procs.ticks_now()
        if self.control < 0:
            return
        self.waiting_words += json.dumps(words).encode("ascii") + b"\n"
        self._send_words()

    def _send_words(self) -> None:
        watched = self.control in self.agent.selector.get_map()
        try:
            sent = os.write(self.control, self.waiting_words)
        except BlockingIOError:
            sent = 0
        except OSError:  # pytest is gone
            self.waiting_words = b""
            sent = 0
        self.waiting_words = self.waiting_words[sent:]
        if self.waiting_words and not watched:
            self.agent.selector.register(self.control, selectors.EVENT_WRITE, self._send_words)
        elif not self.waiting_words and watched:
            self.agent.selector.unregister(self.control)

    def watch(self, event: dict[str, Any]) -> None:
        """Handle the start of a test."""
        pid = event.get("pid")
        if pid:
            self.running[pid] = self.name(event)
            self.told_gone.discard(pid)
            self.observe(pid)

    def know(self, event: dict[str, Any]) -> None:
        """Handle a collected test."""
        self.names.append(str(event.get("nodeid")))
        self.tests[self.names[-1]] = False

    def name(self, event: dict[str, Any]) -> str:
        """Return the node id of the test that an event is about, or "" if there is none."""
        index = event.get("index", -1)
        return self.names[index] if 0 <= index < len(self.names) else ""

    def unwatch(self, event: dict[str, Any]) -> None:
        """Handle the end of a test."""
        pid = event.get("pid", -1)
        self.running.pop(pid, None)
        self.told_gone.discard(pid)
        self.tests[self.name(event)] = True
        if pid == self.pid:
            self.observe(pid)
        else:
            self.deadlocks.end(pid)

    def gone(self) -> list[int]:
        """Return the tests' processes that have ended since the last call and whose end pytest has not reported."""
        found = []
        for pid in set(self.running) - self.told_gone - {self.pid}:
            process = procs.look(pid)
            if process is None or process.dead:
                found.append(pid)
        self.told_gone.update(found)
        return found

    def leftovers(self, pid_of_test: int, name: str) -> list[procs.Process]:
        """Return the processes that a forked test, whose end is reported, has left running.

        A running test's process keeps its own orphans (it is a subreaper). So the orphans that come to the agent are
        from tests that have ended, or from pytest itself. What pytest started before the first test is left alone.
        In-process tests cannot be told apart from pytest.
        """
        if self.command["isolation"] == "inprocess" or self.first_tick is None:
            return []
        spared = self.agent.awaited()
        found = []
        for pid in procs.own_children():
            if pid in spared:
                continue
            process = procs.look(pid)
            if process is None or process.started < self.first_tick or process.dead:
                continue
            if self._left_by(process, pid_of_test, name):
                found.append(process)
        return found

    def _left_by(self, process: procs.Process, pid: int, name: str) -> bool:
        """Report whether the ended test left the process, and not one whose end is not reported yet."""
        if process.group in self.running:
            return False
        if process.group == pid:
            return True
        test = procs.current_test(process.pid)
        if test in self.tests:
            return test == name or self.tests[test]
        # Nothing shows which test it belongs to. If another test's process is dead too, the process is spared until
        # that end is reported.
        others = [procs.look(pid) for pid in self.running]
        return all(other is not None and not other.dead for other in others)

    def conclude(self) -> bool:
        """Report the end of pytest. If it is not a proper one, the last output may say why."""
        status, number = self.how()
        usual = self.finished and status in (0, 1, 5)
        text = "" if usual or self.killed_because else self.log_tail()[-LAST_WORDS:]
        killed = memory.words() if not self.killed_because and self.memory.explains(number) else ""
        if self.garbage > GARBAGE:
            self.agent.say("garbage", text=f"and {self.garbage - GARBAGE} more lines")
        if self.pressure is not None:
            self.agent.say("delays", **self.pressure.end())
        self._tell_junit()
        self._keep_outputs()
        if self.command.get("debugger"):
            stacks = gdb.parse_crash(self.log_tail(MAX_STACKS))
            self.agent.say("dump", id="crash", pid=self.pid, stacks=stacks or None, text="", error="gdb saw no crash")
        no_space = full(self.command["out"])
        self.agent.say("exit", exit=status, signal=number, memory=killed, text=text, disk_full=no_space)
        return False

    def _keep_outputs(self) -> None:
        """Copy to the out folder what the tests or plugins have written and someone wants."""
        try:
            outputs.keep(self.command.get("outputs", []), self.command["cwd"], self.command["out"])
        except (OSError, outputs.TooLarge) as error:
            self.agent.say("error", message=f"what the tests have written is not all kept: {error}")

    def _tell_junit(self) -> None:
        """Send pytest's JUnit file in pieces that fit in lines. It may hold any bytes, so each piece is base64.

        A test may have put something else in its place: a pipe without a writer, or a file without an end.
        """
        try:
            fd = os.open(self.junit, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # there is none: the Go side decides what that means
            return
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and status.st_size <= JUNIT_LIMIT:
            for at in range(0, status.st_size, JUNIT_PIECE):
                self.agent.say("junit", data=base64.b64encode(os.pread(fd, JUNIT_PIECE, at)).decode("ascii"))
        else:
            what = f"has {status.st_size} bytes" if stat.S_ISREG(status.st_mode) else "is no file"
            self.agent.say("error", message=f"pytest's JUnit file {what}: a test or a plugin wrote it")
        os.close(fd)

    def close(self) -> None:
        """Close the control pipe too."""
        if self.control in self.agent.selector.get_map():
            self.agent.selector.unregister(self.control)
        if self.control >= 0:
            os.close(self.control)
        self.control = -1
        super().close()
