"""Arguments that name no test, and the tests that come nearest."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from typing import Any

import pytest

from .events import Events
from .kept import os

MOST = 5000
"""How many names are compared at most."""


def names_below(collector: pytest.Collector) -> Iterator[str]:
    """Yield the names of the tests below a collector, as they follow the file in a node id."""
    for child in collector.collect():
        if isinstance(child, pytest.Collector):
            yield from names_below(child)
        else:
            yield child.nodeid.partition("::")[2]


def nearest(wanted: str, collectors: Any) -> list[str]:
    """Return the node ids that are most like a name in a file."""
    found: dict[str, str] = {}
    for collector in collectors:
        while isinstance(collector.parent, (pytest.Class, pytest.Module)):
            collector = collector.parent
        with contextlib.suppress(Exception):  # what the project's own collectors do; they have collected once already
            for name, _ in zip(names_below(collector), range(MOST)):
                found.setdefault(name, f"{collector.nodeid}::{name}")
    return [found[name] for name in difflib.get_close_matches(wanted, found, n=3)]


class Missing:
    """Reports why pytest is about to refuse its arguments."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.session: pytest.Session | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """Remember the session, which the report of its collection does not name."""
        self.session = session

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Report each argument without a test. Only now does pytest know them, in a list that is not its interface."""
        if report.nodeid or self.session is None:
            return
        for argument, collectors in getattr(self.session, "_notfound", ()):
            path, _, name = str(argument).partition("::")
            shown = os.path.relpath(path, str(self.session.config.invocation_params.dir))
            if name:
                shown += f"::{name}"
            # Some versions leave out parameters.
            typed = next((each for each in self.session.config.args if each.partition("[")[0] == shown), shown)
            self.events.send("missing", argument=typed, near=nearest(typed.partition("::")[2], collectors))
