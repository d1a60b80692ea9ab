"""The run loop: report what was collected, wait for what to run, run it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import _pytest.main
import pytest

from . import linux, oneprocess
from .events import Events
from .forkrunner import REPORT, ForkRunner
from .forks import REPORTED, others_hear
from .import_check import ImportCheck
from .kept import os
from .ledger import Ledger


class SessionLoop:
    """Takes the place of pytest's own pytest_runtestloop."""

    def __init__(
        self,
        config: pytest.Config,
        events: Events,
        ledger: Ledger,
        runner: ForkRunner,
        built: ImportCheck,
        isolation: str,
        workers: int,
        notes: list[str],
    ) -> None:
        self.config = config
        self.events = events
        self.ledger = ledger
        self.runner = runner
        self.built = built
        self.isolation = isolation
        self.workers = workers
        self.notes = notes
        self.agent = events.control >= 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Report the session: all options are known now."""
        self.ledger.tell_session(self.isolation, self.workers, self.notes)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run what the agent chooses, in its order. This takes the place of pytest's own loop, which comes last."""
        if self._others(session) is not None:
            return True  # pytest would not run its own loop either
        options = session.config.option
        if session.testsfailed and not options.continue_on_collection_errors:
            errors = session.testsfailed
            raise session.Interrupted(f"{errors} error{'s' if errors != 1 else ''} during collection")
        collected = self.runner.collected = list(session.items)
        self.built.tell(self.events)
        self.runner.foreign = self.built.told
        self.ledger.tell_items(collected, self._needs(collected))
        if options.collectonly:
            return True
        chosen = list(enumerate(collected))
        if self.agent:
            command = self.events.wait_for("run")
            if command is None:
                pytest.exit("the agent is gone", returncode=3)
            chosen = self._choose(session, collected, command["run"])
        if self.isolation != "inprocess":
            self.runner.run(session, chosen)
        else:
            self._run_in_process(session, chosen)
        return True

    def _others(self, session: pytest.Session) -> object:
        """Call the hooks of this name in conftests and plugins. Wrappers already surround them all."""
        called = self.config.hook.pytest_runtestloop.get_hookimpls()
        around = {each.plugin for each in called if each.hookwrapper or getattr(each, "wrapper", False)}
        manager = self.config.pluginmanager
        others = manager.subset_hook_caller("pytest_runtestloop", {self, _pytest.main, *around})
        return others(session=session)

    def _needs(self, items: list[pytest.Item]) -> list[str]:
        """Return what cannot work if each test has its own process, and what to choose instead."""
        if self.isolation == "inprocess":
            return []
        cure = 'isolation "inprocess" runs the tests that need it in one process'
        return [f"{what}: {why}; {cure}" for what, why in oneprocess.find(self.config, items)]

    def _choose(
        self, session: pytest.Session, collected: list[pytest.Item], order: list[int]
    ) -> list[tuple[int, pytest.Item]]:
        """Deselect what is not wanted, as pytest's -k would, and put the rest in order."""
        order = [index for index in order if 0 <= index < len(collected)]
        wanted = set(order)
        left_out = [item for index, item in enumerate(collected) if index not in wanted]
        if left_out:
            session.config.hook.pytest_deselected(items=left_out)
        chosen = [(index, collected[index]) for index in order]
        session.items[:] = [item for _, item in chosen]
        session.testscollected = len(chosen)
        return chosen

    def _run_in_process(self, session: pytest.Session, chosen: list[tuple[int, pytest.Item]]) -> None:
        """Run pytest's own loop, with events around each test; tests that are marked as forked are still forked."""
        following: list[pytest.Item | None] = [item for _, item in chosen[1:]]
        following.append(None)
        if others_hear(self.config, REPORTED):
            self.config.pluginmanager.register(Reporting(self.runner), "pyo3test_reporting")
        for (index, item), nextitem in zip(chosen, following):
            if item.get_closest_marker("forked"):
                self.runner.run(session, [(index, item)])
                session._setupstate.teardown_exact(nextitem)
                continue
            start = self.runner.clock()
            self.ledger.current, self.ledger.phase = index, "setup"
            pid = os.getpid()
            self.events.send_all(
                ("start", {"index": index, "pid": pid, "threads": linux.thread_count()}),
                ("phase", {"index": index, "pid": pid, "when": "setup"}),
            )
            fields: dict[str, Any] = {}
            try:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
            except (KeyboardInterrupt, pytest.exit.Exception) as stop:
                kind = "KeyboardInterrupt" if isinstance(stop, KeyboardInterrupt) else "pytest.exit"
                fields = {"interrupt": f"{kind}: {stop}"}
                raise
            finally:
                self.ledger.current = None
                took = self.runner.clock() - start
                self.events.send(
                    "finish",
                    index=index,
                    pid=pid,
                    exit=0,
                    signal=None,
                    complete=True,
                    duration=took,
                    killed=None,
                    **fields,
                )
            self.runner.stop_if_told(session)


class Phases:
    """Reports when a test's second and third phases begin; the first is reported with the test's start."""

    def __init__(self, runner: ForkRunner) -> None:
        self.runner = runner

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, Any, None]:
        """Report the second phase."""
        self._tell("call")
        yield

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, Any, None]:
        """Report the third phase."""
        self._tell("teardown")
        yield

    def _tell(self, when: str) -> None:
        ledger = self.runner.ledger
        if self.runner.child is not None:
            self.runner.child.tell_phase(when)
        elif ledger.current is not None:
            ledger.phase = when
            ledger.events.send("phase", index=ledger.current, pid=os.getpid(), when=when)


class Reporting:
    """Reports when pytest's own process is in other plugins' reporting hooks: that time is not the test's."""

    def __init__(self, runner: ForkRunner) -> None:
        self.runner = runner

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None, Any, None]:
        """Before the first phase."""
        yield from self._around()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None, Any, None]:
        """After each phase."""
        yield from self._around()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_logfinish(self) -> Generator[None, Any, None]:
        """After the last."""
        yield from self._around()

    def _around(self) -> Generator[None, Any, None]:
        ledger = self.runner.ledger
        if self.runner.child is not None or ledger.current is None:
            yield
            return
        about: dict[str, Any] = {"index": ledger.current, "pid": os.getpid()}
        ledger.events.send("phase", **about, when=REPORT)
        yield
        ledger.events.send("phase", **about, when=ledger.phase)
