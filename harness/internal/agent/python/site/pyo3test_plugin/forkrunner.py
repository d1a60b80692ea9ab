"""The fork runner: each test in a child of the parent that collected the tests, several at once on request."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator
from typing import Any

import pytest

from . import child, coverage_support, crash, linux, long_output, memory
from .events import Events
from .forks import PATIENCE, REPORTED, WARNED, Forks, Lost, Starter, others_hear
from .kept import os, select, time
from .ledger import Ledger
from .running import Running

REPORT = "report"
"""The phase of a test whose process has ended, while hooks in pytest's own process report it."""
AHEAD = 2
"""Children per worker that are forked before their turn, at most. After each fork the parent copies hundreds of pages
again, but only once after several in a row. With fewer workers than processors, the fork and a child's first steps cost
no time at all."""


class ForkRunner:
    """Runs tests in forked children and reports them as pytest would."""

    def __init__(
        self, config: pytest.Config, events: Events, ledger: Ledger, workers: int, starter: Starter | None = None
    ) -> None:
        self.config = config
        self.events = events
        self.ledger = ledger
        self.workers = workers
        self.starter: Starter = starter or Forks(config, self._run_in_child)
        self.child: child.Child | None = None
        """Set only in a child."""
        self.running: dict[int, Running] = {}
        self.waiting: deque[tuple[int, pytest.Item]] = deque()
        self.ahead: deque[Running] = deque()
        """Children at their closed gates: their tests run before those that are waiting."""
        self.depth = 1
        """How many to fork ahead next time."""
        self.prepared = False
        self.heard = False
        """Whether other plugins have hooks that are called as a test is reported, and that may never return."""
        self.collected: list[pytest.Item] = []
        """All tests, in the order of collection."""
        self.foreign: set[str] = set()
        """The modules that were reported as not being what was built."""
        self.poll = select.poll()
        self.by_fd: dict[int, Running] = {}
        self.clock = time.perf_counter
        self.memory = memory.Watch()

    # The hooks that act in the child

    def protocol(self, item: pytest.Item) -> bool | None:
        """In a child: run the test. A plugin that overrides the protocol comes first, as in plain pytest."""
        if self.child is None:
            return None
        self.child.runtest(item)
        return True

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, None]:
        """In a child: collect garbage after the test has ended, while pytest still records its warnings."""
        yield
        if self.child is not None:
            self.child.collect_garbage(item)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """In a child: send reports that other plugins make, such as subtests and reruns."""
        if self.child is not None:
            self.child.tell_report(report)

    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str, location: Any) -> None:
        """In a child: pass the warning on."""
        if self.child is not None:
            self.child.tell_warning(warning_message, when, nodeid, location)

    # The parent

    def run(self, session: pytest.Session, chosen: list[tuple[int, pytest.Item]]) -> None:
        """Run the tests. Return when all have ended; raise as pytest's loop does when it must stop."""
        if not chosen:
            return
        self._prepare()
        self.waiting.extend(chosen)
        ended: list[Running] = []
        try:
            while True:
                self.events.hold()
                try:
                    for running in ended:
                        self._end(session, running)
                    while self._may_start(session):
                        self._tell_start(self._start())
                finally:
                    self.events.release()
                if not self.running:
                    break
                self._fork_ahead()
                ended = self._wait()
        finally:
            self._abandon()
            self.starter.finish()
        self.stop_if_told(session)

    def _may_start(self, session: pytest.Session) -> bool:
        if session.shouldfail or session.shouldstop or len(self.running) >= self.workers:
            return False
        return bool(self.ahead or self.waiting)

    def stop_if_told(self, session: pytest.Session) -> None:
        """Stop for -x, --maxfail and plugins that request an end."""
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)

    def _prepare(self) -> None:
        """Do once, before the first fork, what every child would otherwise do for itself."""
        if self.prepared:
            return
        self.prepared = True
        self.heard = others_hear(self.config, (*REPORTED, *WARNED))
        coverage_support.before_forks()
        factory = getattr(self.config, "_tmp_path_factory", None)
        if factory is not None:
            # Every child would make, and with --basetemp first delete, the base folder.
            factory.getbasetemp()
        if self.events.control >= 0:
            self.poll.register(self.events.control, select.POLLIN)
        self.starter.watch(self.poll)
        self.starter.prepare(self.collected, self.foreign)

    def _start(self) -> Running | None:
        """Start the next test."""
        if self.ahead and (self.starter.is_orphan(self.ahead[0].pid) or self._reap(self.ahead[0])):
            self._recall()  # the child ended before its test began, which does not affect the test
        if self.ahead:
            running = self.ahead.popleft()
        else:
            index, item = self.waiting.popleft()
            try:
                running = self._start_child(index, item, PATIENCE)
            except OSError as error:
                self._not_started(index, item, error)
                return None
        running.kills = self.memory.kills()
        running.started, running.wall = self.clock(), time.time()
        self.running[running.pid] = running
        if running.pidfd >= 0:
            self.by_fd[running.pidfd] = running
            self.poll.register(running.pidfd, select.POLLIN)
        with contextlib.suppress(OSError):  # killed just now: reported like any other death
            os.write(running.gate, b"1")
        os.close(running.gate)
        running.gate = -1
        return running

    def _tell_start(self, running: Running | None) -> None:
        if running is not None:
            self.events.send("start", index=running.index, pid=running.pid, threads=running.threads)

    def _fork_ahead(self) -> None:
        """Fork for tests whose turn has not come yet, while others run.

        Such a child must see what one forked at its turn would see. Of what the parent does in between, a test can see
        only that another test failed, which pytest counts: children forked ahead are then discarded. Plugins and
        conftests with hooks that are called in between, or with threads, may change anything, so with them no child is
        forked ahead. If the only such hook is that for warnings, it is enough to discard children after a test that has
        given warnings.
        """
        if self.ahead or not self.starter.may_go_ahead():
            return
        while self.waiting and len(self.ahead) < self.depth:
            try:
                self.ahead.append(self._start_child(*self.waiting[0], 0.0))
            except OSError:  # the system allows no process yet, and there is no hurry
                return
            self.waiting.popleft()
        self.depth = min(2 * self.depth, AHEAD * self.workers)

    def _recall(self) -> None:
        """Discard the children that were forked ahead; their tests wait for new children."""
        for running in reversed(self.ahead):
            if not self._reap(running):
                self._kill(running)
            running.close()
            self.waiting.appendleft((running.index, running.item))
        self.ahead.clear()
        self.depth = 1  # one failure is seldom the last, and each one discards the waiting children

    def _start_child(self, index: int, item: pytest.Item, patience: float) -> Running:
        """Start a child, which waits at its closed gate."""
        with contextlib.suppress(Lost):  # another test may have ended the process to fork from
            return self._try_child(index, item, patience)
        return self._try_child(index, item, patience)

    def _try_child(self, index: int, item: pytest.Item, patience: float) -> Running:
        """Try to start a child, with descriptors that no child of an earlier attempt has."""
        fds: list[int] = []
        try:
            for make in (linux.memory_file, linux.scratch_file, linux.scratch_file):
                fds.append(make())
            fds += os.pipe()
            pid, pidfd, threads = self.starter.start(item, fds, patience)
        except OSError:
            for fd in fds:
                os.close(fd)
            raise
        told, out, err, gate, opener = fds
        os.close(gate)
        return Running(index, item, pid, told, pidfd, out, err, opener, threads)

    def _run_in_child(self, item: pytest.Item, fds: list[int]) -> None:
        """Do what a forked child does: wait at the gate, then run the test."""
        told, out, err, gate, opener = fds
        os.close(opener)
        self.events.close_in_child()
        for sibling in (*self.running.values(), *self.ahead):
            sibling.close()
        self.running.clear()
        self.ahead.clear()
        self.ledger.muted = True
        self.child = child.become(self.config, told, out, err)
        begin = os.read(gate, 1)
        os.close(gate)
        if begin:
            self.child.run(item)

    def _wait(self) -> list[Running]:
        """Wait for news; return the children that may have ended."""
        ready = self.poll.poll(self.starter.pause(self.running.values()))
        self._listen()
        ended = [self.by_fd[fd] for fd, _ in ready if fd in self.by_fd]
        return ended + [each for each in self.running.values() if each.pidfd < 0]

    def _end(self, session: pytest.Session, running: Running) -> None:
        """If a child has ended, collect its results and report them."""
        if not self._reap(running):
            return
        self._listen()
        running.read()
        self._forget(running)
        reports = self._revive(running)
        following = None
        unnoticed = self._is_unnoticed(running, reports)
        if self.ahead and unnoticed and self._may_start(session):
            # This test cannot make the session stop, so the next need not wait until it has been reported.
            following = self._start()
        try:
            self._conclude(running, reports)
        finally:
            self._tell_start(following)
        if running.stop is not None:
            session.shouldfail = session.shouldfail or running.stop[0]
            session.shouldstop = session.shouldstop or running.stop[1]
        if not unnoticed and self.starter.sees_pytest:
            self._recall()

    def _is_unnoticed(self, running: Running, reports: list[pytest.TestReport]) -> bool:
        """Report whether a test ended so that no other test can see from the state of pytest that it ran."""
        told = running.done and running.exit == 0 and running.interrupt is None and not running.broken
        told = told and running.stop is None
        whole = told and any(each.when == "teardown" for each in reports)
        return (
            whole
            and not any(each.failed for each in reports)
            and not (running.warnings and self.starter.warnings_heard)
        )

    def _listen(self) -> None:
        """Learn from the agent which children it is about to kill, and how some have ended."""
        for words in self.events.heard():
            if "ended" in words:
                self.starter.hear(words["ended"], words["status"])
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
        self.starter.watch(self.poll)

    def _unwatch(self, fd: int) -> None:
        self.by_fd.pop(fd, None)
        try:
            self.poll.unregister(fd)
        except KeyError:
            pass

    def _reap(self, running: Running) -> bool:
        """Collect the exit status; return False while the child is alive."""
        try:
            status = self.starter.reap(running.pid)
        except Lost as lost:
            running.broken = str(lost)
            return True
        except ChildProcessError:
            return True  # something else reaped it: how it ended is not known
        if status is None:
            return False
        if os.WIFSIGNALED(status):
            running.signal = os.WTERMSIG(status)
            if running.reason is None and self.memory.explains(running.signal, running.kills):
                running.reason, running.message = "memory", memory.words()
        else:
            running.exit = os.WEXITSTATUS(status)
        return True

    def _kill(self, running: Running) -> None:
        """End a child and the processes in its group, and collect its exit status."""
        running.kill()
        with contextlib.suppress(OSError):
            self.starter.reap(running.pid, wait=True)

    def _forget(self, running: Running) -> None:
        """Remove a child that has ended; what it printed can still be read."""
        if running.pidfd >= 0:
            self._unwatch(running.pidfd)
        self.running.pop(running.pid, None)

    def _conclude(self, running: Running, reports: list[pytest.TestReport]) -> None:
        """Report an ended child's test to pytest and to the agent."""
        took = self.clock() - running.started
        complete = running.done and running.interrupt is None and not running.broken
        fields: dict[str, Any] = {}
        try:
            if running.interrupt is None:
                told = complete and any(report.when == "teardown" for report in reports)
                if not told or running.exit != 0:
                    complete = told
                    keep, phase = self.config.stash[long_output.KEY], "the end" if told else running.phase
                    out = keep.read(running.item.nodeid, f"stdout {phase}", running.out)
                    err = keep.read(running.item.nodeid, f"stderr {phase}", running.err)
                    fields = {} if told else {"stdout": out, "stderr": err}
                    crash.complete(running, reports, took, told, out, err)
                self._publish(running.item, running.index, reports, running)
        except BaseException:  # raised by a hook, it ends the session; the test has ended all the same
            self._tell_finish(running, complete, took, **fields)
            raise
        finally:
            running.close()
        if running.interrupt is not None:
            fields = {"interrupt": f"{running.interrupt[1]}: {running.interrupt[2]}"}
        self._tell_finish(running, complete, took, **fields)
        if running.interrupt is not None:
            _, kind, message, returncode = running.interrupt
            if kind == "KeyboardInterrupt":
                raise KeyboardInterrupt(message)
            pytest.exit(message, returncode=returncode)

    def _revive(self, running: Running) -> list[pytest.TestReport]:
        reports: list[pytest.TestReport] = []
        for data in running.reports:
            try:
                report = self.config.hook.pytest_report_from_serializable(config=self.config, data=data)
            except Exception as error:
                running.broken = running.broken or f"its report could not be read: {error!r}"
                continue
            if isinstance(report, pytest.TestReport):
                crash.settle_subtest(self.config, report, data)
                if report.outcome not in ("passed", "failed", "skipped"):  # a plugin's name for a rerun
                    crash.drop_subtests(self.config, reports, report)
                reports.append(report)
        return reports

    def _publish(
        self, item: pytest.Item, index: int, reports: list[pytest.TestReport], running: Running | None = None
    ) -> None:
        """Call the hooks that pytest calls around a test, so that terminal, JUnit and caches are as usual."""
        hook = item.ihook
        if self.heard:
            pid = running.pid if running is not None else os.getpid()
            self.events.send("phase", index=index, pid=pid, when=REPORT)
            self.events.flush()
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

    def _not_started(self, index: int, item: pytest.Item, error: OSError) -> None:
        """Report a test for which no process could be created."""
        running = Running(index, item, os.getpid(), -1, -1, -1, -1, -1, linux.thread_count(), self.clock(), time.time())
        running.broken = f"no process could be made for this test: {error}"
        reports: list[pytest.TestReport] = []
        crash.complete(running, reports, 0.0, False, "", "")
        self.events.send("start", index=index, pid=running.pid, threads=running.threads)
        self._publish(item, index, reports)
        self._tell_finish(running, False, 0.0, stdout="", stderr=running.broken)

    def _abandon(self) -> None:
        """End the children that run or wait: the session stops."""
        self._recall()
        self.waiting.clear()
        for running in list(self.running.values()):
            self._kill(running)
            self._forget(running)
            running.close()
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
