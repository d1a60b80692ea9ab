"""What a forked child writes goes to files of its own, which the parent can read however the child ends."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from .kept import os

try:  # here, because in a child even a repeated import costs copies of dozens of pages
    from _pytest import faulthandler

    FAULTS_KEY: Any = faulthandler.fault_handler_stderr_fd_key
except (ImportError, AttributeError):
    FAULTS_KEY = None


class _Nothing:
    """A terminal for the child that discards everything: the parent prints the child's reports."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def flush_all() -> None:
    """Flush Python's buffers before a fork, so that the child does not write them too, and before the child's end."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()  # type: ignore[union-attr]
        except (OSError, ValueError, AttributeError):
            pass  # closed or replaced by the test


def flush_terminal(config: pytest.Config) -> None:
    """Do the same for the terminal reporter, which has its own stream."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        try:
            reporter.flush()
        except (OSError, ValueError):
            pass


def silence_terminal(config: pytest.Config) -> None:
    """In the child: discard what plugins write to the terminal reporter."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    writer = getattr(reporter, "_tw", None)
    if writer is not None:
        writer._file = _Nothing()


def redirect(config: pytest.Config, out: int, err: int) -> None:
    """In the child: replace pytest's capture files with the given files.

    The descriptors are replaced beneath pytest's own objects. So old references to sys.stdout keep working, and native
    and Python output share one file and keep their order. With -s there is nothing to replace. With --capture=sys
    pytest keeps the text in memory, and each child has its own copy.
    """
    manager: Any = config.pluginmanager.get_plugin("capturemanager")
    capturing = getattr(manager, "_global_capturing", None)
    for source, own in ((getattr(capturing, "out", None), out), (getattr(capturing, "err", None), err)):
        if source is not None and hasattr(source, "targetfd"):
            os.dup2(own, source.tmpfile.fileno(), inheritable=False)
    # The traceback that faulthandler writes when the process dies belongs to the test, not to the session's log.
    fd = config.stash.get(FAULTS_KEY, None) if FAULTS_KEY is not None else None
    if fd is not None and capturing is not None and hasattr(getattr(capturing, "err", None), "targetfd"):
        os.dup2(err, fd, inheritable=False)
