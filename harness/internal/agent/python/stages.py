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
import procs
from pyo3test_plugin import memory
from pyo3test_plugin.linux import HIGH, signal_name
from relay import Splitter

LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py")
SETTINGS_VARIABLE = "PYO3TEST_PLUGIN"
STACKS_SIGNAL = getattr(signal, "SIGRTMIN", 34) + 14 if hasattr(signal, "SIGRTMIN") else 0
LOG_TAIL = 64 << 10
MAX_STACKS = 4 << 20
"""Bytes of gdb's output in which the stacks of a crash are looked for."""
JUNIT_PIECE = 192 << 10
"""Bytes; in base64 a line of a quarter MiB."""
JUNIT_LIMIT = 64 << 20
"""Bytes; the largest seen in a real project is 2 MB."""
GARBAGE = 10
"""How many lines that are no events are told one by one; a flood is counted."""
LAST_WORDS = 4 << 10
"""Characters of pytest's output that go with the news of its untimely end."""

DISK_MARGIN = 1 << 20
"""Bytes; with fewer left, reports of a usual size are cut off."""

PYTEST_ARGS = [
    # pytest-forked's plugin adds --forked too, which is an error.
    "-p", "no:forked",
    "-p", "pyo3test_plugin.hooks",
    "--continue-on-collection-errors",
    # With a limit, a failing forked test hangs forever.
    "-o", "faulthandler_timeout=0",
]  # fmt: skip


class Host(Protocol):
    """What a job needs of the agent."""

    selector: selectors.BaseSelector

    def say(self, kind: str, **fields: Any) -> None:
        """Tell an event."""

    def flush(self) -> None:
        """Write the lines that are waiting."""

    def relay_event(self, line: bytes) -> None:
        """Pass a line of the plugin on."""

    def awaited(self) -> set[int]:
        """The agent's own children, whose exit status somebody wants."""


def check(command: dict[str, Any]) -> None:
    """Refuse a start command that cannot work, in words."""
    for name, kind in (("python", str), ("cwd", str), ("out", str), ("env", dict), ("args", list)):
        if not isinstance(command.get(name), kind):
            raise ValueError(f"{name} must be a {kind.__name__}")
    if command.get("isolation") not in ("forked", "subprocess", "inprocess"):
        raise ValueError("isolation must be forked, subprocess or inprocess")
    modules = command.get("imports")
    if not isinstance(modules, list) or not all(
        isinstance(module, dict) and all(isinstance(module.get(key), str) for key in ("name", "file", "sha256"))
        for module in modules
    ):
        raise ValueError("imports must be a list of names, files and their sha256")
    if not all(isinstance(name, str) for name in command.get("compiled", [])):
        raise ValueError("compiled must be a list of files")
    if type(command.get("workers", 0)) is not int or command.get("workers", 0) < 0:
        raise ValueError("workers must be a number, 0 or more")


def restore(tree: str | None, into: str | None) -> None:
    """Lay the files that the build made over the sources."""
    if tree and into and os.path.isdir(tree):
        shutil.copytree(tree, into, symlinks=True, dirs_exist_ok=True)


def full(folder: str) -> bool:
    """Whether the disk takes no more: what is missing of pytest's reports is then nobody's setting."""
    try:
        disk = os.statvfs(folder)
    except OSError:  # a test removed it
        return False
    return disk.f_bavail * disk.f_frsize < DISK_MARGIN


def high_pipe(ours_reads: bool) -> tuple[int, int]:
    """A pipe (ours, theirs) whose other end has a number that tests seldom touch."""
    reading, writing = os.pipe()
    ours, theirs = (reading, writing) if ours_reads else (writing, reading)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    base = HIGH if limit == resource.RLIM_INFINITY else max(3, min(HIGH, limit - 40))
    moved = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, base)
    os.close(theirs)
    os.set_blocking(ours, False)
    return ours, moved


def _state(path: str) -> list[int]:
    """What changes when a file is written to, without reading it."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


class Job:
    """A process of the test environment's Python, and a pipe of what it tells."""

    log_name = ""

    def __init__(
        self, agent: Host, command: dict[str, Any], args: list[str], fds: list[int], pipe: int, under: list[str]
    ) -> None:
        self.agent = agent
        self.command = command
        self.pipe = pipe
        self.splitter = Splitter()
        self.killed_because = ""
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
        """The complete environment of the process."""
        return {str(name): str(value) for name, value in self.command["env"].items()}

    def observe(self, pid: int) -> None:
        """From now on it is looked at whether this process can still go on by itself."""
        if not self.command.get("no_deadlock_proof"):
            self.deadlocks.begin(pid, time.monotonic())

    @property
    def has_pidfd(self) -> bool:
        """Whether the end of the process wakes the loop."""
        return self.pidfd >= 0

    def _nothing(self) -> None:
        """The loop looks for the end by itself."""

    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def how(self) -> tuple[int | None, int | None]:
        """Exit status and signal, one of them None."""
        status = self.process.returncode
        return (None, -status) if status < 0 else (status, None)

    def read(self) -> bool:
        """Take in what the pipe holds; whether there was anything."""
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
        """One line of the pipe."""
        raise NotImplementedError

    def drain(self, deadline: float) -> None:
        """Read what is left; not to the pipe's end, which a process that escaped may hold open."""
        while time.monotonic() < deadline and self.read():
            pass
        rest = self.splitter.rest()
        if rest:
            self.take(rest)
        self.agent.flush()

    def conclude(self) -> bool:
        """Tell the end of the job; whether the next one may begin."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the descriptors."""
        for fd in (self.pipe, self.pidfd):
            if fd >= 0:
                self.agent.selector.unregister(fd)
                os.close(fd)
        self.pipe = self.pidfd = -1

    def log_tail(self, limit: int = LOG_TAIL) -> str:
        """The end of what the process printed."""
        try:
            with open(self.log, "rb") as log:
                size = os.fstat(log.fileno()).st_size
                log.seek(max(0, size - limit))
                return log.read(limit).decode("utf-8", "replace")
        except OSError:
            return ""


class Import(Job):
    """Imports the built modules in a process that is nothing else, before any test may skip itself for want of them."""

    log_name = "import.log"

    def __init__(self, agent: Host, command: dict[str, Any]) -> None:
        self.results: list[dict[str, Any]] = []
        self.at = ""
        ours, theirs = high_pipe(ours_reads=True)
        super().__init__(agent, command, ["import", str(theirs), json.dumps(command["imports"])], [theirs], ours, [])

    def take(self, line: bytes) -> None:
        """A result, or the name of the module that comes next."""
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
        """All modules must have been imported, and the process must have left by itself."""
        status, number = self.how()
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
    """The tests."""

    log_name = "pytest.log"

    def __init__(self, agent: Host, command: dict[str, Any]) -> None:
        out = command["out"]
        self.stacks = os.path.join(out, "stacks.log")
        self.waiting_words = b""
        self.first_tick: int | None = None
        self.memory = memory.Watch()
        self.finished = False
        self.running: set[int] = set()
        """The pids of the tests that run, each the number of its process group."""
        self.told_gone: set[int] = set()
        """Those of them that have ended, which was told."""
        self.names: list[str] = []
        """The node ids, by index."""
        self.tests: dict[str, bool] = {}
        """By node id, whether a test's end has been told."""
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
        }
        self.junit = os.path.join(out, "junit.xml")
        junit = f"--junitxml={self.junit}"
        args = ["run", *PYTEST_ARGS, junit, *[str(arg) for arg in command["args"]]]
        under = gdb.runner() if command.get("debugger") else []
        super().__init__(agent, command, args, [events_theirs, control_theirs], events, under)

    def environment(self) -> dict[str, str]:
        """One variable more, which the plugin removes before any test sees it."""
        return {**super().environment(), SETTINGS_VARIABLE: json.dumps(self.settings)}

    def take(self, line: bytes) -> None:
        """An event of the plugin."""
        self.agent.relay_event(line)

    def tell(self, words: dict[str, Any]) -> None:
        """Say something to the plugin; never waits, what does not fit now goes later."""
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
        """A test begins."""
        pid = event.get("pid")
        if pid:
            self.running.add(pid)
            self.told_gone.discard(pid)
            self.observe(pid)

    def know(self, event: dict[str, Any]) -> None:
        """A test was collected."""
        self.names.append(str(event.get("nodeid")))
        self.tests[self.names[-1]] = False

    def name(self, event: dict[str, Any]) -> str:
        """The node id of the test that an event is about; nothing if there is none."""
        index = event.get("index", -1)
        return self.names[index] if 0 <= index < len(self.names) else ""

    def unwatch(self, event: dict[str, Any]) -> None:
        """It has ended."""
        pid = event.get("pid", -1)
        self.running.discard(pid)
        self.told_gone.discard(pid)
        self.tests[self.name(event)] = True
        if pid == self.pid:
            self.observe(pid)
        else:
            self.deadlocks.end(pid)

    def gone(self) -> list[int]:
        """The tests' processes that have ended since the last look, and whose end pytest has not told."""
        found = []
        for pid in self.running - self.told_gone - {self.pid}:
            process = procs.look(pid)
            if process is None or process.dead:
                found.append(pid)
        self.told_gone.update(found)
        return found

    def leftovers(self, pid_of_test: int, name: str) -> list[procs.Process]:
        """What the forked test of a pid and node id, whose end is told, has left running.

        A running test's child keeps its own orphans (it is a subreaper), so what is handed to us comes from tests that
        have ended, or from pytest itself; what pytest started before the first test is left alone. In-process tests
        cannot be told from pytest.
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
        """Whether it was the test that has ended, and not one whose end is not told yet."""
        if process.group in self.running:
            return False
        if process.group == pid:
            return True
        test = procs.current_test(process.pid)
        if test in self.tests:
            return test == name or self.tests[test]
        # Nothing tells whose it is. Where another test's process is dead too, it waits for the end of that one.
        others = [procs.look(pid) for pid in self.running]
        return all(other is not None and not other.dead for other in others)

    def conclude(self) -> bool:
        """pytest's end is the end. Without a proper one, the end of its output may say why."""
        status, number = self.how()
        usual = self.finished and status in (0, 1, 5)
        text = "" if usual or self.killed_because else self.log_tail()[-LAST_WORDS:]
        killed = memory.words() if not self.killed_because and self.memory.explains(number) else ""
        if self.garbage > GARBAGE:
            self.agent.say("garbage", text=f"and {self.garbage - GARBAGE} more lines")
        self._tell_junit()
        if self.command.get("debugger"):
            stacks = gdb.parse_crash(self.log_tail(MAX_STACKS))
            self.agent.say("dump", id="crash", pid=self.pid, stacks=stacks or None, text="", error="gdb saw no crash")
        no_space = full(self.command["out"])
        self.agent.say("exit", exit=status, signal=number, memory=killed, text=text, disk_full=no_space)
        return False

    def _tell_junit(self) -> None:
        """pytest's JUnit file, in pieces that are lines; it may hold anything, so each is base64.

        What a test put in its place may be a pipe that nobody fills, or have no end.
        """
        try:
            fd = os.open(self.junit, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # there is none: the Go side says what that means
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
        """The control pipe too."""
        if self.control in self.agent.selector.get_map():
            self.agent.selector.unregister(self.control)
        if self.control >= 0:
            os.close(self.control)
        self.control = -1
        super().close()
