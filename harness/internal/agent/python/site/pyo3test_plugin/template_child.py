"""One test in an interpreter of its own: what a child of the template does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest

from . import capture, child, wire
from .kept import gc, os
from .lines import clip

FRESH = ("lf", "failedfirst", "newfirst", "stepwise", "stepwise_skip")
"""pytest's options that choose tests by how they ended before: the choice has already been made."""


class SingleTest:
    """The requested test, and the descriptors to report on it."""

    def __init__(self, request: dict[str, Any], told: int, out: int, err: int, gate: int) -> None:
        self.request = request
        self.told, self.out, self.err, self.gate = told, out, err, gate
        self.runner: Any = None
        self.errors: list[str] = []

    def prepare(self, config: pytest.Config) -> None:
        """Before anything is configured: choose only the test's file, and no reports except those to the parent."""
        config.args = [self.request["path"]]
        options = config.option
        options.xmlpath = None
        for name in FRESH:
            if hasattr(options, name):
                setattr(options, name, False)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Silence the terminal and use pytest's own temporary folder.

        pytest itself has printed what a session prints, and temporary folders belong to its session.
        """
        capture.silence_terminal(session.config)
        factory = getattr(session.config, "_tmp_path_factory", None)
        if factory is not None and self.request["basetemp"]:
            factory._basetemp = Path(self.request["basetemp"])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record errors: they may be the reason why the test is not found."""
        if not report.passed:
            self.errors.append(f"{report.nodeid or 'the session'}: {report.longreprtext}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the test and exit: the end of the session belongs to pytest itself, which reports."""
        item = self._find(session.items)
        if item is None:
            self.fail("pytest did not find the test in a fresh interpreter")
        item._nodeid = self.request["nodeid"]  # its name may differ in each process
        begin = os.read(self.gate, 1)
        os.close(self.gate)
        if begin:
            gc.collect()  # what is already garbage is not the test's
            self.runner.child = child.become(session.config, self.told, self.out, self.err)
            self.runner.child.run(item)
        child.LEAVE(71)

    def _find(self, items: list[pytest.Item]) -> Any:
        """Find the test by its node id, or by its function and position if ids differ between processes."""
        request = self.request
        same = [item for item in items if item.nodeid == request["nodeid"]]
        if same:
            return same[request["occurrence"] % len(same)]
        same = [item for item in items if function_of(item) == request["function"]]
        # A file that was named twice is collected only once here.
        return same[request["position"] % len(same)] if same and request["count"] % len(same) == 0 else None

    def fail(self, words: str) -> NoReturn:
        """Report why the test was not run."""
        text = clip("\n".join([words, *self.errors]), child.TEXT_LIMIT)
        try:
            os.write(self.told, wire.frame(("broken", text)))
        finally:
            child.LEAVE(70)


def function_of(item: pytest.Item) -> str:
    """Return the node id without the part that distinguishes the parameters of one function."""
    name = getattr(item, "originalname", None)
    return item.nodeid[: -len(item.name)] + name if name and item.nodeid.endswith(item.name) else item.nodeid
