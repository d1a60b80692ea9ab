"""The event side of the two ledgers: what pytest's hooks report, as events."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import pytest
from _pytest import nodes
from _pytest.junitxml import bin_xml_escape, mangle_test_address

from . import long_output
from .events import Events
from .kept import os
from .wire import plain

FAULTHANDLER_TIMEOUT = re.compile(r"^\s*faulthandler_timeout\s*=\s*[\"']?([0-9.]+)", re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
AT_LINE = re.compile(r"^(?P<path>[^\s:][^:\n]*):(?P<line>\d+): ", re.MULTILINE)
FILE_LINE = re.compile(r"^E? *File \"(?P<path>[^\"\n]+)\", line (?P<line>\d+)", re.MULTILINE)
MESSAGE_LIMIT = 4096


class Ledger:
    """Sends an event for what the parent process reports."""

    def __init__(self, config: pytest.Config, events: Events) -> None:
        self.config = config
        self.events = events
        self.current: int | None = None
        """The index of the item whose reports come now."""
        self.phase = "setup"
        """The phase of the current test, if it runs in this process."""
        self.deselected = 0
        """How many tests were deselected while pytest collected."""
        self.muted = False
        """Set in a forked child, which has its own way to report to the parent."""

    # Collection

    def pytest_collectstart(self, collector: nodes.Collector) -> None:
        """Report that a folder's conftest or a module is about to be imported."""
        if isinstance(collector, nodes.FSCollector) and not isinstance(collector, pytest.Session):
            self.events.send("collecting", nodeid=collector.nodeid)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self) -> Generator[None, Any, None]:
        """Report that all files are collected: time spent from now on is not due to any of them."""
        self.events.send("collecting", nodeid="")
        yield

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Report what could not be collected."""
        if report.passed:
            return
        path = os.path.join(str(self.config.rootpath), report.nodeid.split("::")[0])
        if report.skipped:
            line, reason = 0, COLOUR.sub("", report.longreprtext)
            if isinstance(report.longrepr, tuple):
                path, line, reason = report.longrepr[0], int(report.longrepr[1] or 0), str(report.longrepr[2])
            reason = _without_prefix(reason)
            self.events.send(
                "collect-skip",
                nodeid=report.nodeid,
                reason=reason,
                path=str(path),
                line=line,
                junit=self._junit_name(report.nodeid),
            )
            return
        text = COLOUR.sub("", report.longreprtext)
        line = self._line_in(text, path)
        self.events.send(
            "collect-error",
            nodeid=report.nodeid,
            longrepr=text,
            path=path,
            line=line,
            junit=self._junit_name(report.nodeid),
        )

    def _line_in(self, text: str, path: str) -> int:
        """Return the last line of that file that the text names, or 0."""
        line = 0
        for pattern in (AT_LINE, FILE_LINE):
            for match in pattern.finditer(text):
                for base in (str(self.config.rootpath), str(self.config.invocation_params.dir)):
                    if os.path.normpath(os.path.join(base, match["path"])) == path:
                        line = int(match["line"])
        return line

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Count the tests that -k, -m or a plugin leaves out."""
        self.deselected += len(items)

    def tell_items(self, items: list[pytest.Item], notes: list[str]) -> None:
        """Report each item in the order of collection, with notes on all; its position is its index from now on."""
        for index, item in enumerate(items):
            line = item.location[1]
            self.events.send(
                "item",
                index=index,
                nodeid=item.nodeid,
                path=str(item.path),
                line=line + 1 if line is not None else 0,
                junit=self._junit_name(item.nodeid),
                timeout=self._timeout(item),
                fixtures=[name for name in getattr(item, "fixturenames", ()) if name != "request"],
            )
        self.events.send("collected", count=len(items), deselected=self.deselected, notes=notes)

    def _junit_name(self, nodeid: str) -> list[str]:
        """Return the classname and name that LogXML gives the test's element."""
        names = mangle_test_address(nodeid)
        classes = names[:-1]
        prefix = self.config.getoption("junitprefix", None)
        if prefix:
            classes.insert(0, prefix)
        return [".".join(classes), bin_xml_escape(names[-1])]

    @staticmethod
    def faulthandler_timeout(config: pytest.Config) -> tuple[float, bool]:
        """Return the project's own faulthandler_timeout, which the agent overrides, and whether it ends pytest."""
        try:
            text = config.inipath.read_text(encoding="utf-8") if config.inipath is not None else ""
            found = FAULTHANDLER_TIMEOUT.search(text)
            seconds = float(found[1]) if found else 0.0
        except (OSError, ValueError):
            seconds = 0.0
        try:
            ends = bool(config.getini("faulthandler_exit_on_timeout"))
        except (ValueError, KeyError):  # an older pytest
            ends = False
        return seconds, ends

    @staticmethod
    def project_timeout(config: pytest.Config) -> list[Any]:
        """Return the limits that the project sets for all its tests with pytest-timeout, the decisive one first."""
        candidates = [config.getoption("timeout", None), os.environ.get("PYTEST_TIMEOUT")]
        try:
            candidates.append(config.getini("timeout"))
        except (ValueError, KeyError):  # no plugin defines it
            pass
        return [candidate for candidate in candidates if candidate not in (None, "")]

    def _timeout(self, item: pytest.Item) -> float | None:
        """Return the seconds that the project sets for the test with pytest-timeout or faulthandler, or None."""
        mark = item.get_closest_marker("timeout")
        candidates: list[Any] = []
        if mark is not None:
            candidates.append(mark.kwargs.get("timeout", mark.args[0] if mark.args else None))
        candidates += self.project_timeout(self.config)
        seconds, ends = self.faulthandler_timeout(self.config)
        if ends:
            candidates.append(seconds)
        for candidate in candidates:
            if candidate in (None, ""):
                continue
            try:
                seconds = float(candidate)
            except (TypeError, ValueError):
                return None
            # 0 means "no limit" there: then the harness's own limit applies.
            return seconds if 0 < seconds < 1e9 else None
        return None

    # Reports and warnings

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Send a report; last, because pytest itself turns a passed test with failed subtests into a failed one."""
        index = self.current
        if self.muted or index is None:
            return
        text = COLOUR.sub("", report.longreprtext)
        path, line, message = self._crash_site(report, text)
        keep = self.config.stash[long_output.KEY]
        self.events.send(
            "report",
            index=index,
            when=report.when,
            outcome=report.outcome,
            duration=_finite(report.duration),
            longrepr=text,
            message=message,
            path=path,
            line=line,
            wasxfail=str(report.wasxfail) if hasattr(report, "wasxfail") else None,
            sections=[
                [str(name), keep.clip(report.nodeid, str(name), str(content))] for name, content in report.sections
            ],
            properties=[[str(plain(key)), str(plain(value))] for key, value in report.user_properties],
            subtest=_subtest(report),
        )

    def _crash_site(self, report: pytest.TestReport, text: str) -> tuple[str, int, str]:
        """Return where a report says that something happened, and the beginning of its message."""
        longrepr = report.longrepr
        if isinstance(longrepr, tuple) and len(longrepr) == 3:
            path, line, message = longrepr
            return self._absolute(str(path)), int(line or 0), _without_prefix(str(message))[:MESSAGE_LIMIT]
        crash = getattr(longrepr, "reprcrash", None)
        if crash is not None:
            message = COLOUR.sub("", str(crash.message))
            return self._absolute(str(crash.path)), int(crash.lineno or 0), message[:MESSAGE_LIMIT]
        if not text:
            return "", 0, ""
        return self._absolute(report.location[0]), (report.location[1] or 0) + 1, text.split("\n", 1)[0][:MESSAGE_LIMIT]

    def _absolute(self, path: str) -> str:
        return os.path.normpath(os.path.join(str(self.config.rootpath), path)) if path else ""

    def pytest_warning_recorded(self, warning_message: Any, nodeid: str) -> None:
        """Report a warning."""
        if self.muted:
            return
        self.events.send(
            "warning",
            text=str(plain(warning_message.message)),
            category=getattr(warning_message.category, "__name__", "Warning"),
            path=str(warning_message.filename),
            line=int(warning_message.lineno or 0),
            nodeid=nodeid or "",
        )

    # The session's ends

    def tell_session(self, isolation: str, workers: int, notes: list[str]) -> None:
        """Report what runs where."""
        import platform

        plugins = {
            f"{dist.project_name} {dist.version}"
            for plugin, dist in self.config.pluginmanager.list_plugin_distinfo()
            if plugin is not None  # our stand-in for pytest-forked has none
        }
        self.events.send(
            "session",
            pytest=pytest.__version__,
            python=platform.python_version(),
            rootdir=str(self.config.rootpath),
            args=[str(arg) for arg in self.config.invocation_params.args],
            plugins=sorted(plugins),
            isolation=isolation,
            workers=workers,
            notes=list(notes),
        )

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, Any, None]:
        """Report the end of the session, after the JUnit file and the terminal's summary are written.

        If something other than pytest.exit, which pytest heeds, aborts the hook, no end is reported.
        """
        outcome = yield
        error = outcome.excinfo[1] if outcome.excinfo else None
        status = int(session.exitstatus)
        if isinstance(error, pytest.exit.Exception) and error.returncode is not None:
            status = error.returncode
        if error is None or isinstance(error, pytest.exit.Exception):
            self.events.send("finished", exitstatus=status)


def _without_prefix(reason: str) -> str:
    return reason[len("Skipped: ") :] if reason.startswith("Skipped: ") else reason


def _finite(seconds: Any) -> float:
    try:
        seconds = float(seconds)
    except (TypeError, ValueError):
        return 0.0
    return seconds if 0 <= seconds < 1e9 else 0.0


def _subtest(report: pytest.TestReport) -> dict[str, str] | None:
    """Return what names a subtest, in pytest's own format; also for the pytest-subtests plugin."""
    context = getattr(report, "context", None)
    if context is None or not hasattr(context, "kwargs"):
        return None
    parts = [f"[{context.msg}]"] if context.msg is not None else []
    if context.kwargs:
        parts.append("(" + ", ".join(f"{key}={plain(value)}" for key, value in context.kwargs.items()) + ")")
    return {"description": " ".join(parts) or "(<subtest>)"}
