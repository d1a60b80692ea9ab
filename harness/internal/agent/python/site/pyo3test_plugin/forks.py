"""Children that are forked from the parent that collected the tests, as the fork runner sees them."""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import pytest

from . import capture, child, linux
from .kept import gc, os, select, signal, threading, time
from .running import Running

PATIENCE = 10.0
"""Seconds to wait for the process limit or memory to allow a fork."""
UNWATCHED = 10
"""Milliseconds between two checks of children for which no descriptor reports the end."""
REPORTED = ("pytest_runtest_logstart", "pytest_runtest_logreport", "pytest_runtest_logfinish")
WARNED = ("pytest_warning_recorded",)
"""Together with REPORTED, the hooks that are called in the parent, and so between forks."""


class Lost(ChildProcessError):
    """How a child ended, or whether there is one, can no longer be known."""


class Starter(Protocol):
    """Where children come from."""

    sees_pytest: bool
    """Whether a child sees what had happened to pytest by the time it was started."""
    warnings_heard: bool
    """Whether plugins other than pytest's handle warnings, and so may change what a child sees."""

    def prepare(self, items: list[pytest.Item], foreign: set[str]) -> None:
        """Prepare once before the first child, with the collected tests and the modules that are not what was built."""

    def may_go_ahead(self) -> bool:
        """Report whether a child may be started before the turn of its test."""

    def start(self, item: pytest.Item, fds: list[int], patience: float) -> tuple[int, int, int]:
        """Start a child, which waits at its closed gate.

        Return its pid, a descriptor that becomes readable when it ends or -1, and how many threads its parent had. All
        of fds, which Running names, are for the child except the last; ours stay open. If the system allows no process
        now, retry for `patience` seconds. Raise Lost if there may be a child of unknown pid: it waits at its gate, so
        start another one at another gate.
        """

    def reap(self, pid: int, wait: bool = False) -> int | None:
        """Return a child's exit status, or None while it is alive."""

    def finish(self) -> None:
        """Undo what a start changed in this process. Called when all children have ended, or in a child."""

    def is_orphan(self, pid: int) -> bool:
        """Report whether a child's parent is gone: then the child is of no use if it has not begun its test."""

    def hear(self, pid: int, status: int) -> None:
        """Take from the agent how a process ended that the agent adopted."""

    def watch(self, poll: select.poll) -> None:
        """Register with the poll what reports ends that no child's own descriptor shows."""

    def pause(self, running: Iterable[Running]) -> int | None:
        """Return the milliseconds after which to check children whatever poll says; None if poll reports every end."""


class Forks:
    """Children that are copies of this process."""

    sees_pytest = True

    def __init__(self, config: pytest.Config, become: Callable[[pytest.Item, list[int]], Any]) -> None:
        self.config = config
        self.become = become
        self.undisturbed = False
        self.warnings_heard = False
        self.on_end: Any = None
        """The project's own handler of SIGCHLD, while ours is in its place."""

    def prepare(self, items: list[pytest.Item], foreign: set[str]) -> None:
        """Do what every child would otherwise do for itself."""
        self.undisturbed = not others_hear(self.config, REPORTED)
        self.warnings_heard = others_hear(self.config, WARNED)
        gc.collect()  # what is already garbage belongs to no test
        gc.freeze()  # a child unfreezes; until it runs a full collection, it touches none of these pages

    def may_go_ahead(self) -> bool:
        """Return False if threads, or hooks of plugins or conftests called in between, may change anything."""
        return self.undisturbed and threading.active_count() == 1

    def start(self, item: pytest.Item, fds: list[int], patience: float) -> tuple[int, int, int]:
        """Fork a child."""
        self._keep_ends()
        threads = linux.thread_count()
        capture.flush_all()
        capture.flush_terminal(self.config)
        pid = patiently(lambda: _fork(threads), patience)
        if pid == 0:
            try:
                self.finish()
                self.become(item, fds)
            finally:
                child.LEAVE(71)
        return pid, _pidfd(pid), threads

    def reap(self, pid: int, wait: bool = False) -> int | None:
        """Get the status from the system."""
        ended, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
        return status if ended else None

    def _keep_ends(self) -> None:
        """Have the system keep a child's exit status until we ask: it does not if SIGCHLD is ignored.

        A handler might also reap all children of this process. The tests see the project's own setting.
        """
        handler = signal.getsignal(signal.SIGCHLD)
        if handler not in (signal.SIG_DFL, None):  # None: it was not set by Python, and could not be restored
            self.on_end = handler
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def finish(self) -> None:
        """Restore the project's handler of SIGCHLD."""
        if self.on_end is not None:
            signal.signal(signal.SIGCHLD, self.on_end)
            self.on_end = None

    def is_orphan(self, pid: int) -> bool:
        """Return False: this process is the parent."""
        return False

    def hear(self, pid: int, status: int) -> None:
        """Do nothing: the agent adopts none of its children."""

    def watch(self, poll: select.poll) -> None:
        """Do nothing: each child has its own descriptor."""

    def pause(self, running: Iterable[Running]) -> int | None:
        """Return None if every child has a descriptor that reports its end, else the interval between checks."""
        return None if all(each.pidfd >= 0 for each in running) else UNWATCHED


def patiently(make: Callable[[], int], patience: float) -> int:
    """Create a process; retry for `patience` seconds if the system allows none now."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return make()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOMEM) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _fork(threads: int) -> int:
    if sys.version_info < (3, 12) or threads <= 1:
        return os.fork()
    with warnings.catch_warnings():  # "use of fork() may lead to deadlocks": the event reports the thread count
        warnings.simplefilter("ignore")
        return os.fork()


def others_hear(config: pytest.Config, hooks: tuple[str, ...]) -> bool:
    """Report whether a plugin other than pytest's and ours has one of the hooks."""
    for name in hooks:
        for implementation in getattr(config.hook, name).get_hookimpls():
            module = str(getattr(implementation.function, "__module__", ""))
            if module.partition(".")[0] not in ("_pytest", __package__):
                return True
    return False


def _pidfd(pid: int) -> int:
    """Return a descriptor that becomes readable when the process ends, or -1 if the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1
