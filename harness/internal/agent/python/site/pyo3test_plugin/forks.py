"""Children that are forked from the collected parent, as the fork runner sees them."""

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
"""Milliseconds between two looks at children of which no descriptor tells when they end."""
REPORTED = ("pytest_runtest_logstart", "pytest_runtest_logreport", "pytest_runtest_logfinish")
WARNED = ("pytest_warning_recorded",)
"""With those above, the hooks that are called in the parent, so between forks."""


class Lost(ChildProcessError):
    """Nobody can know any more how a child ended, or whether there is one."""


class Starter(Protocol):
    """Where children come from."""

    sees_pytest: bool
    """Whether a child sees what has become of pytest until it was started."""
    warnings_heard: bool
    """Whether others than pytest hear of warnings, and so may change what a child sees."""

    def prepare(self, items: list[pytest.Item], foreign: set[str]) -> None:
        """Once before the first child: what was collected, and the modules that are not what was built."""

    def may_go_ahead(self) -> bool:
        """Whether a child may be started before the turn of its test."""

    def start(self, item: pytest.Item, fds: list[int], patience: float) -> tuple[int, int, int]:
        """A child at its closed gate: its pid, a descriptor that is readable when it ends or -1, and how many threads
        its parent had. Of fds, which Running names, all are the child's but the last; ours stay open. With patience in
        seconds where there is no room for one now. Lost, where there may be a child that nobody knows: it waits at its
        gate, so let another be started at another one.
        """

    def reap(self, pid: int, wait: bool = False) -> int | None:
        """A child's exit status, None while it lives."""

    def finish(self) -> None:
        """Undo what a start changed in this process; all children have ended, or this is one."""

    def is_orphan(self, pid: int) -> bool:
        """Whether what a child was forked from is gone: one that has not begun its test is of no use then."""

    def hear(self, pid: int, status: int) -> None:
        """The agent tells how a process ended that was handed to it."""

    def watch(self, poll: select.poll) -> None:
        """Have news of ends noticed that no child's own descriptor tells."""

    def pause(self, running: Iterable[Running]) -> int | None:
        """Milliseconds after which to look at children whatever poll says; None where it tells all."""


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
        """What all children would otherwise do each for themselves."""
        self.undisturbed = not others_hear(self.config, REPORTED)
        self.warnings_heard = others_hear(self.config, WARNED)
        gc.collect()  # what is garbage already is no test's
        gc.freeze()  # a child unfreezes: until it collects all, it touches none of these pages

    def may_go_ahead(self) -> bool:
        """Not where plugins and conftests with hooks that are called in between, or threads, may change anything."""
        return self.undisturbed and threading.active_count() == 1

    def start(self, item: pytest.Item, fds: list[int], patience: float) -> tuple[int, int, int]:
        """Fork."""
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
        """Ask the system."""
        ended, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
        return status if ended else None

    def _keep_ends(self) -> None:
        """Have the system keep how a child ended until we ask: it does not where SIGCHLD is ignored.

        And a handler might ask for all children of this process. The tests see the project's own setting.
        """
        handler = signal.getsignal(signal.SIGCHLD)
        if handler not in (signal.SIG_DFL, None):  # None: it was not set by Python, nor could be set again
            self.on_end = handler
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def finish(self) -> None:
        """Give the project its handler of SIGCHLD back."""
        if self.on_end is not None:
            signal.signal(signal.SIGCHLD, self.on_end)
            self.on_end = None

    def is_orphan(self, pid: int) -> bool:
        """Never: this is the process."""
        return False

    def hear(self, pid: int, status: int) -> None:
        """None of its own is."""

    def watch(self, poll: select.poll) -> None:
        """Each has its own descriptor."""

    def pause(self, running: Iterable[Running]) -> int | None:
        """Where the system has such descriptors."""
        return None if all(each.pidfd >= 0 for each in running) else UNWATCHED


def patiently(make: Callable[[], int], patience: float) -> int:
    """Make a process, with patience in seconds where the system has no room for one now."""
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
    with warnings.catch_warnings():  # "use of fork() may lead to deadlocks": the event's count says it
        warnings.simplefilter("ignore")
        return os.fork()


def others_hear(config: pytest.Config, hooks: tuple[str, ...]) -> bool:
    """Whether somebody besides pytest and us has one of the hooks."""
    for name in hooks:
        for implementation in getattr(config.hook, name).get_hookimpls():
            module = str(getattr(implementation.function, "__module__", ""))
            if module.partition(".")[0] not in ("_pytest", __package__):
                return True
    return False


def _pidfd(pid: int) -> int:
    """A descriptor that becomes readable when the process ends, or -1 where there is none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1
