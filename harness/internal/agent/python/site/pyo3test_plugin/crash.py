"""Reports for tests whose process died before it could report, and the state of a child that must reach the parent."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from . import coverage_support
from .linux import signal_name

if TYPE_CHECKING:
    from .running import Running


def complete(running: Running, reports: list[pytest.TestReport], took: float, whole: bool, out: str, err: str) -> None:
    """Add the failed report, and the missing phases around it.

    JUnit then holds one testcase, a failure. An xfail mark does not matter: a crash is never expected.
    """
    phases = {report.when for report in reports if type(report) is pytest.TestReport}
    when = "teardown" if whole or "call" in phases or _setup_failed(reports) else "call"
    text = _explain(running, whole)
    if coverage_support.measures():
        text += "\nits coverage is lost: a process that dies saves none"
    sections = list(reports[-1].sections) if reports else []
    where = running.phase if not whole else "after the test"
    sections += [
        (f"Captured {name} {where}", content) for name, content in (("stdout", out), ("stderr", err)) if content
    ]
    if "setup" not in phases:
        reports.insert(0, _report(running, "setup", "passed"))
    if when == "teardown":
        # One report per phase: the one that says "passed" is dropped.
        reports[:] = [each for each in reports if each.when != "teardown" or each.failed]
    spent = sum(report.duration for report in reports)
    reports.append(_report(running, when, "failed", text, sections, max(0.0, took - spent)))
    if when == "call":
        reports.append(_report(running, "teardown", "passed", None, sections))


def _setup_failed(reports: list[pytest.TestReport]) -> bool:
    return any(report.when == "setup" and not report.passed for report in reports)


def _explain(running: Running, whole: bool) -> str:
    if running.reason is not None:
        return f"{running.message}, during {running.phase}"
    if whole:
        how = signal_name(running.signal) if running.signal is not None else f"exit status {running.exit}"
        return f"the test ended, then its process died: {how}"
    if running.broken:
        return f"the test could not be run or reported:\n{running.broken}"
    if running.signal is not None:
        return f"crashed: {signal_name(running.signal)} during {running.phase}"
    if running.exit is None:
        return "its process ended before the test did, how is not known: something else reaped it"
    return (
        f"its process exited with status {running.exit} during {running.phase}, before the test ended "
        "(os._exit, exit in native code, or closed descriptors)"
    )


def _report(
    running: Running,
    when: Any,
    outcome: Any,
    longrepr: Any = None,
    sections: Any = (),
    duration: float = 0.0,
) -> pytest.TestReport:
    item = running.item
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={str(name): 1 for name in item.keywords},
        outcome=outcome,
        longrepr=longrepr,
        when=when,
        sections=list(sections),
        duration=duration,
        start=running.wall,
        stop=running.wall + duration,
        user_properties=[],
    )


def revive_warning(text: str, module: str, name: str, filename: str, lineno: int, line: Any) -> warnings.WarningMessage:
    """Return a warning made from its parts. The category is looked up, never imported."""
    category: Any = sys.modules.get(module)
    for part in name.split("."):
        category = getattr(category, part, None)
    if not (isinstance(category, type) and issubclass(category, Warning)):
        category = type(name.rpartition(".")[2], (Warning,), {"__module__": module})
    return warnings.WarningMessage(
        message=Warning(text), category=category, filename=filename, lineno=lineno, line=line
    )


def settle_subtest(config: pytest.Config, report: pytest.TestReport, data: dict[str, Any]) -> None:
    """Restore what pytest's own subtests lose on the way from the child.

    Failed subtests were counted in the child, but pytest fails the test itself by the count here. And reading a report
    quotes their parameters once more.
    """
    try:
        from _pytest.subtests import SubtestReport, failed_subtests_key
    except ImportError:  # before pytest 9
        return
    if not isinstance(report, SubtestReport):
        return
    context = data.get("_subtest.context")
    if isinstance(context, dict) and isinstance(context.get("kwargs"), dict):
        object.__setattr__(report.context, "kwargs", context["kwargs"])
    if report.failed:
        key: Any = report.id if hasattr(report, "id") else report.nodeid
        config.stash[failed_subtests_key][key] += 1


def drop_subtests(config: pytest.Config, reports: list[pytest.TestReport], rerun: pytest.TestReport) -> None:
    """Forget the subtests of an attempt that a plugin repeats: like the attempt itself, they do not count."""
    reports[:] = [report for report in reports if not hasattr(report, "context")]
    try:
        from _pytest.subtests import failed_subtests_key
    except ImportError:  # before pytest 9
        return
    key: Any = rerun.id if hasattr(rerun, "id") else rerun.nodeid
    config.stash[failed_subtests_key].pop(key, None)


def add_properties(config: pytest.Config, properties: list[tuple[str, str]]) -> None:
    """Add the values of record_testsuite_property."""
    if properties:
        from _pytest.junitxml import xml_key

        xml = config.stash.get(xml_key, None)
        if xml is not None:
            xml.global_properties += properties
