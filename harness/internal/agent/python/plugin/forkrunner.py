"""The fork runner: each test in a child of the collected parent, several at once if asked."""

from __future__ import annotations

import dataclasses
import errno
import gc
import os
import select
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from . import capture, child, coverage_support, crash, linux, memory, whole, wire
from .events import Events
from .ledger import Ledger

FORK_PATIENCE = 10.0
"""Seconds to wait for the process limit or memory to allow a fork."""


@dataclasses.dataclass
class Running:
    """A child as its parent sees it."""

    index: int
    item: pytest.Item
    pid: int
    told: int
    """The file that the child writes its messages to, read when it has ended: nothing wakes the parent before."""
    pidfd: int
    out: int
    err: int
    started: float
    wall: float
    kills: int
    reports: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    warnings: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    properties: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    phase: str = "setup"
    done: bool = False
    broken: str = ""
    interrupt: tuple[Any, ...] | None = None
    reason: str | None = None
    message: str = ""
    exit: int | None = None
    signal: int | None = None


class ForkRunner:
    """Runs tests in forked children and reports them as pytest would."""

    def __init__(self, config: pytest.Config, events: Events, ledger: Ledger, workers: int) -> None:
        self.config = config
        self.events = events
        self.ledger = ledger
        self.workers = workers
        self.child: child.Child | None = None
        """Set in a child only."""
        self.running: dict[int, Running] = {}
        self.prepared = False
        self.poll = select.poll()
        self.by_fd: dict[int, Running] = {}
        self.clock = time.perf_counter
        self.memory = memory.Watch()

    # The hooks' part that acts in the child

    def protocol(self, item: pytest.Item) -> bool | None:
        """In a child: run the test. A plugin that overrides the protocol comes first, as it would in plain pytest."""
        if self.child is None:
            return None
        self.child.runtest(item)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """In a child: reports that others make, such as subtests and reruns."""
        if self.child is not None:
            self.child.tell_report(report)

    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str, location: Any) -> None:
        """In a child: pass the warning on."""
        if self.child is not None:
            self.child.tell_warning(warning_message, when, nodeid, location)

    # The parent

    def run(self, session: pytest.Session, chosen: list[tuple[int, pytest.Item]]) -> None:
        """Run the tests; returns when all have ended, raises as pytest's loop does when it must stop."""
        if not chosen:
            return
        self._prepare()
        waiting = deque(chosen)
        try:
            while waiting or self.running:
                stopping = bool(session.shouldfail or session.shouldstop)
                while waiting and len(self.running) < self.workers and not stopping:
                    self._start(session, *waiting.popleft())
                if not self.running:
                    break
                for ended in self._wait():
                    self.events.hold()
                    try:
                        self._conclude(ended)
                    finally:
                        self.events.release()
        finally:
            self._abandon()
        self.stop_if_told(session)

    def stop_if_told(self, session: pytest.Session) -> None:
        """-x, --maxfail and plugins that want an end."""
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)

    def _prepare(self) -> None:
        """Once before the first fork: what all children would otherwise do each for themselves."""
        if self.prepared:
            return
        self.prepared = True
        coverage_support.before_forks()
        factory = getattr(self.config, "_tmp_path_factory", None)
        if factory is not None:
            # Every child would make, and with --basetemp first delete, the base folder.
            factory.getbasetemp()
        if self.events.control >= 0:
            self.poll.register(self.events.control, select.POLLIN)
        gc.collect()
        gc.freeze()  # a collection in a child would touch, so copy, every page

    def _start(self, session: pytest.Session, index: int, item: pytest.Item) -> None:
        out, err = linux.scratch_file(), linux.scratch_file()
        told = linux.memory_file()
        capture.flush_all()
        capture.flush_terminal(self.config)
        threads = linux.thread_count()
        kills = self.memory.kills()
        started, wall = self.clock(), time.time()
        try:
            pid = self._fork(threads)
        except OSError as error:
            for fd in (out, err, told):
                os.close(fd)
            self._not_started(session, index, item, error)
            return
        if pid == 0:
            try:
                self._become_child(out, err, told)
                assert self.child is not None
                self.child.run(item)
            finally:
                child.LEAVE(71)
        running = Running(index, item, pid, told, _pidfd(pid), out, err, started, wall, kills)
        self.running[pid] = running
        if running.pidfd >= 0:
            self.by_fd[running.pidfd] = running
            self.poll.register(running.pidfd, select.POLLIN)
        self.events.send("start", index=index, pid=pid, threads=threads)

    def _fork(self, threads: int) -> int:
        """Fork, with patience where the system has no room for a process now."""
        deadline = time.monotonic() + FORK_PATIENCE
        while True:
            try:
                if sys.version_info < (3, 12) or threads <= 1:
                    return os.fork()
                with warnings.catch_warnings():  # "use of fork() may lead to deadlocks": the event's count says it
                    warnings.simplefilter("ignore")
                    return os.fork()
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ENOMEM) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _become_child(self, out: int, err: int, told: int) -> None:
        self.events.close_in_child()
        for sibling in self.running.values():
            for fd in (sibling.told, sibling.pidfd, sibling.out, sibling.err):
                if fd >= 0:
                    os.close(fd)
        self.running.clear()
        self.ledger.muted = True
        self.child = child.become(self.config, told, out, err)

    def _wait(self) -> Iterator[Running]:
        """Wait for news; gives the children that have ended."""
        watched = all(each.pidfd >= 0 for each in self.running.values())
        ready = self.poll.poll(None if watched else 10)
        ended = [self.by_fd[fd] for fd, _ in ready if fd in self.by_fd]
        if not watched:
            ended += [each for each in self.running.values() if each.pidfd < 0]
        self._listen()
        for running in ended:
            if self._reap(running):
                self._listen()
                self._read(running)
                self._forget(running)
                yield running

    def _listen(self) -> None:
        """Hear from the agent which children it is about to kill."""
        for words in self.events.heard():
            running = self.running.get(words.get("kill", -1))
            if running is not None:
                running.reason = str(words.get("reason") or "killed")
                running.message = str(words.get("message") or running.reason)
        if self.events.control < 0:
            # The agent is gone and everything will be killed; without this, poll would spin.
            self._drop_control()

    def _drop_control(self) -> None:
        self.poll = select.poll()
        for fd in self.by_fd:
            self.poll.register(fd, select.POLLIN)

    def _read(self, running: Running) -> None:
        """Take in what the child has written, up to what no child of ours wrote."""
        reader, offset = wire.Reader(), 0
        try:
            while data := os.pread(running.told, 1 << 20, offset):
                offset += len(data)
                for message in reader.feed(data):
                    self._take(running, message)
        except (wire.Garbage, ValueError, TypeError, EOFError, IndexError, OSError):
            running.done = False

    def _take(self, running: Running, message: tuple[Any, ...]) -> None:
        kind = message[0]
        if kind == "phase":
            running.phase = str(message[1])
        elif kind == "report" and isinstance(message[1], dict):
            running.reports.append(message[1])
        elif kind == "warning" and len(message) == 5:
            running.warnings.append(message)
        elif kind == "properties":
            running.properties += [(str(name), str(value)) for name, value in message[1]]
        elif kind == "interrupt" and len(message) == 4:
            running.interrupt = message
        elif kind == "broken":
            running.broken = str(message[1])
        elif kind == "done":
            running.done = True
        else:
            raise wire.Garbage

    def _unwatch(self, fd: int) -> None:
        self.by_fd.pop(fd, None)
        try:
            self.poll.unregister(fd)
        except KeyError:
            pass

    def _reap(self, running: Running) -> bool:
        """Collect the exit status; False while the child lives."""
        try:
            pid, status = os.waitpid(running.pid, os.WNOHANG)
        except ChildProcessError:
            return True  # someone else reaped it: how it ended is not known
        if pid == 0:
            return False
        if os.WIFSIGNALED(status):
            running.signal = os.WTERMSIG(status)
            if running.reason is None and self.memory.explains(running.signal, running.kills):
                running.reason, running.message = "memory", memory.words()
        else:
            running.exit = os.WEXITSTATUS(status)
        return True

    def _forget(self, running: Running) -> None:
        os.close(running.told)
        if running.pidfd >= 0:
            self._unwatch(running.pidfd)
            os.close(running.pidfd)
            running.pidfd = -1
        self.running.pop(running.pid, None)

    def _conclude(self, running: Running) -> None:
        """Report an ended child's test to pytest and to the agent."""
        took = self.clock() - running.started
        complete = running.done and running.interrupt is None and not running.broken
        fields: dict[str, Any] = {}
        try:
            reports = self._revive(running)
            if running.interrupt is None:
                told = complete and any(report.when == "teardown" for report in reports)
                if not told or running.signal is not None or running.exit:
                    complete = told
                    keep, phase = self.config.stash[whole.KEY], "the end" if told else running.phase
                    out = keep.read(running.item.nodeid, f"stdout {phase}", running.out)
                    err = keep.read(running.item.nodeid, f"stderr {phase}", running.err)
                    fields = {} if told else {"stdout": out, "stderr": err}
                    crash.complete(running, reports, took, told, out, err)
                self._publish(running.item, running.index, reports, running)
        finally:
            os.close(running.out)
            os.close(running.err)
        if running.interrupt is not None:
            fields = {"interrupt": f"{running.interrupt[1]}: {running.interrupt[2]}"}
        self._tell_finish(running, complete, took, **fields)
        if running.interrupt is not None:
            _, kind, message, returncode = running.interrupt
            if kind == "KeyboardInterrupt":
                raise KeyboardInterrupt(message)
            pytest.exit(message, returncode=returncode)

    def _revive(self, running: Running) -> list[pytest.TestReport]:
        reports = []
        for data in running.reports:
            try:
                report = self.config.hook.pytest_report_from_serializable(config=self.config, data=data)
            except Exception as error:
                running.broken = running.broken or f"its report could not be read: {error!r}"
                continue
            if isinstance(report, pytest.TestReport):
                crash.settle_subtest(self.config, report, data)
                reports.append(report)
        return reports

    def _publish(
        self, item: pytest.Item, index: int, reports: list[pytest.TestReport], running: Running | None = None
    ) -> None:
        """Call the hooks that pytest calls around a test, so that terminal, JUnit and caches are as usual."""
        hook = item.ihook
        self.ledger.current = index
        try:
            hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            for report in reports:
                hook.pytest_runtest_logreport(report=report)
            hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
            if running is not None:
                for _, fields, when, nodeid, location in running.warnings:
                    hook.pytest_warning_recorded.call_historic(
                        kwargs={
                            "warning_message": crash.revive_warning(*fields),
                            "when": when,
                            "nodeid": nodeid,
                            "location": location,
                        }
                    )
                crash.add_properties(self.config, running.properties)
        finally:
            self.ledger.current = None

    def _not_started(self, session: pytest.Session, index: int, item: pytest.Item, error: OSError) -> None:
        """No process could be made for the test."""
        running = Running(index, item, os.getpid(), -1, -1, -1, -1, self.clock(), time.time(), 0)
        running.broken = f"no process could be made for this test: {error}"
        reports: list[pytest.TestReport] = []
        crash.complete(running, reports, 0.0, False, "", "")
        self.events.send("start", index=index, pid=running.pid, threads=linux.thread_count())
        self._publish(item, index, reports)
        self._tell_finish(running, False, 0.0, stdout="", stderr=running.broken)

    def _abandon(self) -> None:
        """The session stops while children run: they go with it."""
        for running in list(self.running.values()):
            for kill in (os.killpg, os.kill):
                try:
                    kill(running.pid, signal.SIGKILL)
                except OSError:
                    pass
            try:
                os.waitpid(running.pid, 0)
            except OSError:
                pass
            self._forget(running)
            os.close(running.out)
            os.close(running.err)
            running.reason = running.reason or "stopped"
            self._tell_finish(running, False, self.clock() - running.started)

    def _tell_finish(self, running: Running, complete: bool, took: float, **fields: Any) -> None:
        self.events.send(
            "finish",
            index=running.index,
            pid=running.pid,
            exit=running.exit,
            signal=running.signal,
            complete=complete,
            duration=took,
            killed=running.reason,
            phase=running.phase,
            **fields,
        )


def _pidfd(pid: int) -> int:
    """A descriptor that becomes readable when the process ends, or -1 where there is none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1
