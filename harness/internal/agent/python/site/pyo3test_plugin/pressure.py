"""Pressure on one test, or on all: delays and conditions under which a rare race shows more often."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import pytest

from .kept import gc, os


def _load() -> Any:
    """Return the function of pressure.c that begins and ends the delays, or None if the library is not loaded."""
    try:
        import ctypes

        call = ctypes.PyDLL(None).pyo3test_pressure_arm  # PyDLL keeps the GIL
        call.argtypes = [ctypes.c_int]
        return call
    except (ImportError, OSError, AttributeError):
        return None


class Pressure:
    """Puts a test, or each, under pressure in its setup and its call. The work of pytest is outside."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self.wanted = wanted
        self.arm = _load() if wanted["calls"] or wanted["code"] else None
        if self.arm is None and (wanted["calls"] or wanted["code"]):
            raise pytest.UsageError("the library that delays threads is not loaded: something has changed LD_PRELOAD")

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, None]:
        """Around the fixtures."""
        yield from self._around(item)

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, None]:
        """Around the test's function."""
        yield from self._around(item)

    def _around(self, item: pytest.Item) -> Generator[None, Any, None]:
        if self.wanted["test"] not in ("", item.nodeid):
            yield
            return
        interval, threshold, processors = sys.getswitchinterval(), gc.get_threshold(), os.sched_getaffinity(0)
        if self.wanted["switch_interval"]:
            sys.setswitchinterval(self.wanted["switch_interval"])
        if self.wanted["garbage"]:
            gc.set_threshold(1)
        if self.wanted["one_processor"]:
            os.sched_setaffinity(0, {min(processors)})
        if self.arm is not None and not self.arm(1):
            raise RuntimeError("threads cannot be delayed: the settings for that are gone")
        yield
        if self.arm is not None:
            self.arm(0)
        os.sched_setaffinity(0, processors)
        gc.set_threshold(*threshold)
        sys.setswitchinterval(interval)
