"""The forked child: runs one test and reports everything about it to its parent."""

from __future__ import annotations

import traceback
from typing import Any, NoReturn

import pytest
from _pytest.junitxml import xml_key
from _pytest.runner import call_and_report

from . import capture, coverage_support, garbage, linux, long_output, wire
from .kept import gc, os
from .lines import clip

LEAVE = os._exit
"""Taken before coverage's `patch = _exit` replaces it; the plugin saves coverage itself."""

TEXT_LIMIT = 512 * 1024
"""Maximum length of a failure text, in characters."""


class Child:
    """One test in its own process. Its messages go to a file, which the parent reads when this process has ended.

    They are tuples: ("report", data), ("warning", ...), ("phase", when), ("properties", [...]), ("stop", shouldfail,
    shouldstop), ("interrupt", kind, message, returncode), ("broken", traceback), ("done",).
    """

    def __init__(self, config: pytest.Config, told: int) -> None:
        self.config = config
        self.owner = os.getpid()
        self.told = linux.move_high(told)
        # A test that closes this descriptor and opens a file gets our number: check before writing there.
        self.identity = _identity(self.told)
        self.pending = b""
        self.last: pytest.TestReport | None = None
        """The report of the last teardown, kept until the end: the garbage may still make the test fail."""

    def run(self, item: pytest.Item) -> NoReturn:
        """Run the test with all plugins' hooks around it, and exit."""
        status = 0
        try:
            self._protocol(item)
            self._put_last()
            self._send(("done",))
            coverage_support.save_in_child()
            capture.flush_all()
        except BaseException:  # a plugin's hook failed, or the test broke what we need
            status = 70
            try:
                self._put_last()
                self._send(("broken", clip(traceback.format_exc(), TEXT_LIMIT)))
            except BaseException:
                pass
        finally:
            LEAVE(status)

    def _protocol(self, item: pytest.Item) -> None:
        properties = self._global_properties()
        known = len(properties)
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        except KeyboardInterrupt as stop:
            self._put(("interrupt", "KeyboardInterrupt", wire.plain(str(stop)), None))
        except pytest.exit.Exception as stop:
            self._put(("interrupt", "pytest.exit", wire.plain(str(stop.msg)), wire.plain(stop.returncode)))
        session = item.session
        if session.shouldfail or session.shouldstop:  # neither is set when a test starts
            self._put(("stop", wire.plain(session.shouldfail), wire.plain(session.shouldstop)))
        if len(properties) > known:  # record_testsuite_property
            self._put(("properties", wire.plain(properties[known:])))

    def runtest(self, item: pytest.Item) -> None:
        """Do what pytest's own runtestprotocol does, but send each report as soon as it exists."""
        has_request = hasattr(item, "_request")
        if has_request and not getattr(item, "_request", None):  # a plugin runs the test again
            item._initrequest()  # type: ignore[attr-defined]
        try:
            report = call_and_report(item, "setup", log=False)
            self.tell_report(report)
            if report.passed and not item.config.getoption("setuponly", False):
                self.tell_report(call_and_report(item, "call", log=False))
            self.tell_report(call_and_report(item, "teardown", log=False, nextitem=None))
        finally:
            if has_request:
                item._request = False  # type: ignore[attr-defined]
                item.funcargs = None  # type: ignore[attr-defined]

    def collect_garbage(self, item: pytest.Item) -> None:
        """Free what the test left in cycles, and fail the test if that raises errors.

        This comes after the test's protocol, when the item has dropped the values of its fixtures.
        """
        call = pytest.CallInfo.from_call(lambda: garbage.collect(item), "teardown")
        if call.excinfo is None:
            return
        report = pytest.TestReport.from_item_and_call(item, call)
        if self.last is not None and self.last.failed:
            self.last.sections.append(("Errors of its garbage", report.longreprtext))
        else:
            self.last = report

    def tell_report(self, report: pytest.TestReport) -> None:
        """Keep a report until the next phase begins or the test ends."""
        self._put_last()
        if type(report) is pytest.TestReport and report.when == "teardown":
            self.last = report
        else:
            self._put_report(report)

    def _put_last(self) -> None:
        report, self.last = self.last, None
        if report is not None:
            self._put_report(report)

    def _put_report(self, report: pytest.TestReport) -> None:
        keep = self.config.stash[long_output.KEY]
        report.sections = [
            (str(name), keep.clip(report.nodeid, name, str(content))) for name, content in report.sections
        ]
        if isinstance(report.longrepr, str):
            report.longrepr = clip(report.longrepr, TEXT_LIMIT)
        try:
            data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        except Exception:  # a plugin's failure object that pytest cannot serialize: its text is enough
            report.longrepr = clip(report.longreprtext, TEXT_LIMIT)
            data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        self._put(("report", wire.plain(data)))

    def tell_phase(self, when: str) -> None:
        """Report the start of a phase; this also sends what is waiting."""
        self._put_last()
        self._send(("phase", when))

    def tell_warning(self, warning: Any, when: str, nodeid: str, location: Any) -> None:
        """Record a warning, in parts."""
        category = warning.category if isinstance(warning.category, type) else Warning
        fields = (
            str(wire.plain(warning.message)),
            category.__module__,
            category.__qualname__,
            str(warning.filename),
            int(warning.lineno or 0),
            wire.plain(warning.line),
        )
        self._put(("warning", fields, str(when), str(nodeid), wire.plain(location)))

    def _global_properties(self) -> list[Any]:
        return getattr(self.config.stash.get(xml_key, None), "global_properties", [])

    def _put(self, message: tuple[Any, ...]) -> None:
        self.pending += wire.frame(message)

    def _send(self, message: tuple[Any, ...]) -> None:
        self._put(message)
        self._flush()

    def _flush(self) -> None:
        if os.getpid() != self.owner:
            LEAVE(0)  # the test forked and its child returned from the test: we do not report for that child
        data, self.pending = memoryview(self.pending), b""
        try:
            if _identity(self.told) != self.identity:
                return
            while data:
                data = data[os.write(self.told, data) :]
        except OSError:  # closed by the test: for the parent, the child then ends without a report
            pass


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def become(config: pytest.Config, told: int, out: int, err: int) -> Child:
    """Do the first steps of a forked child."""
    gc.unfreeze()  # a test may release what a module made
    # A group of its own: a test that signals "its" group must not reach pytest or its siblings.
    os.setpgid(0, 0)
    linux.allow_tracing()
    linux.adopt_orphans()
    coverage_support.enter_child(config)
    capture.redirect(config, out, err)
    capture.silence_terminal(config)
    os.close(out)
    os.close(err)
    return Child(config, told)
