"""Coverage of forked tests: a child saves what it measured, and pytest-cov combines it with the rest."""

from __future__ import annotations

import sys
from typing import Any

import pytest


def _current() -> Any:
    coverage = sys.modules.get("coverage")
    return coverage.Coverage.current() if coverage is not None and hasattr(coverage, "Coverage") else None


def measures() -> bool:
    """Report whether coverage is measured in this process."""
    return _current() is not None


QUIET = ("_warn_no_data", "_warn_unimported_source", "_warn_preimported_source")
"""Switches of those of coverage's warnings that only make sense for the whole run, but that each child would give."""


def before_forks() -> None:
    """In the parent: write out what collection has measured, so that children do not all write it again."""
    current = _current()
    if current is None:
        return
    kept = {name: getattr(current, name) for name in QUIET if hasattr(current, name)}
    try:
        for name in kept:
            setattr(current, name, False)
        current.get_data()
    except Exception:  # coverage itself reports it at the end
        pass
    finally:
        for name, value in kept.items():
            setattr(current, name, value)


def enter_child(config: pytest.Config) -> None:
    """In the child, at its start: give pytest-cov the current measurement.

    With `patch = fork`, coverage has stopped the one that pytest-cov knows.
    """
    if "coverage" not in sys.modules:
        return
    controller: Any = getattr(config.pluginmanager.get_plugin("_cov"), "cov_controller", None)
    current = _current()
    known = getattr(controller, "cov", None)
    if known is not None and current is not None and known is not current and not getattr(known, "_started", True):
        controller.cov = current


def save_in_child() -> None:
    """In the child, at its end: stop and save all measurements.

    Coverage starts a new data file when it sees a new process id. There are two measurements if the project has `patch
    = fork`: the parent's, stopped by the patch, and the child's.
    """
    for _ in range(10):
        current = _current()
        if current is None:
            return
        for name in QUIET:
            setattr(current, name, False)
        try:
            current.stop()
            current.save()
        except Exception as error:
            print(f"pyo3test: coverage of a forked test was not saved: {error!r}", file=sys.__stderr__)
