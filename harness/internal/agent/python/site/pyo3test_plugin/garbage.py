"""Cyclic garbage of tests: its errors must be reported, though a forked child never reaches the session's end."""

from __future__ import annotations

import warnings
from collections.abc import Generator

import pytest

from .kept import gc

OLDEST, YOUNG = 2, 1
"""Generations. A full collection in a forked child touches, and so copies, every page of the parent's objects: 10 ms
and more in a large project. If errors of garbage are only warnings, collecting the young objects of the test is
enough."""

HEARD = ("unraisableexception", "threadexception")
"""pytest's plugins that report errors that no code could catch."""


class Collector:
    """Collects garbage when `collect` asks for it, in the same hook in which pytest's plugins report."""

    def __init__(self) -> None:
        self.asked = False

    def pytest_runtest_teardown(self) -> None:
        """Collect before their hooks, which are called last, or inside them: before pytest 8.4 they are wrappers."""
        if self.asked:
            gc.collect(OLDEST if any(each[0] == "error" for each in warnings.filters) else YOUNG)


COLLECTOR = Collector()


def collect(item: pytest.Item) -> None:
    """Collect, and raise what pytest makes of errors in finalizers: an exception if warnings are errors.

    Plain pytest does this when the session ends. Here pytest's teardown hook for the test has already been called, so
    it is called once more, only for the plugins that report such errors.
    """
    manager = item.config.pluginmanager
    heard = {COLLECTOR, *map(manager.get_plugin, HEARD)}
    hook = manager.subset_hook_caller("pytest_runtest_teardown", manager.get_plugins() - heard)
    COLLECTOR.asked = True
    try:
        hook(item=item, nextitem=None)
    finally:
        COLLECTOR.asked = False


class Garbage:
    """For `--collect-garbage`: collects after each test that runs in this process. Forked tests always do so."""

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        """Collect in the test's last phase, after its fixtures have been torn down."""
        yield
        collect(item)
