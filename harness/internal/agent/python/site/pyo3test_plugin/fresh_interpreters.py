"""Children that each have their own interpreter, forked by the template, as the fork runner sees them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from .forks import Lost, patiently
from .kept import json, os, select, signal
from .running import Running
from .template import LIMIT
from .template_child import function_of

SITE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = f"import sys; sys.path.insert(0, {SITE!r}); import {__package__}.template as t; t.serve(int(sys.argv[1]))"
START = 60.0
"""Seconds that the template may take to start. It usually takes a quarter of a second."""
LOST = "the process that fresh interpreters are forked from ended or does not answer: did the test kill it?"


class FreshInterpreters:
    """The template and its children: one of the fork runner's starters."""

    sees_pytest = False
    warnings_heard = False

    def __init__(
        self, config: pytest.Config, world: dict[str, Any], environment: dict[str, str], adopted: bool
    ) -> None:
        self.config = config
        self.world = world
        self.environment = environment
        self.adopted = adopted
        """Whether there is an agent, which becomes the parent of orphans and reports how they end."""
        self.requests: dict[pytest.Item, dict[str, Any]] = {}
        self.poll: select.poll | None = None
        self.alive: set[int] = set()
        """The children of the current template."""
        self.statuses: dict[int, int] = {}
        self.orphans: set[int] = set()
        """The children of a template that is gone."""
        self.socket: socket.socket | None = None
        self.begin()

    def begin(self) -> None:
        """Start a template."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
            self.process = subprocess.Popen(
                [sys.executable, *flags, "-c", PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=self.environment,
                pass_fds=[theirs.fileno()],
            )
        self.socket = ours
        ours.settimeout(START)
        ours.send(json.dumps(self.world).encode())
        if self.poll is not None:
            self.poll.register(ours, select.POLLIN)

    def finish(self) -> None:
        """Do nothing: nothing was changed."""

    def watch(self, poll: select.poll) -> None:
        """Have the poll watch the template, which reports when children end."""
        self.poll = poll
        if self.socket is not None:
            poll.register(self.socket, select.POLLIN)

    def pause(self, running: Iterable[Running]) -> int | None:
        """Return 0 if an end came with the answer to something else, or can no longer be reported; else None."""
        told = self.statuses.keys() if self.adopted else self.statuses.keys() | self.orphans
        return 0 if any(each.pid in told for each in running) else None

    def may_go_ahead(self) -> bool:
        """Return True: its children see nothing of this process."""
        return True

    def prepare(self, items: list[pytest.Item], foreign: set[str]) -> None:
        """Determine which of several tests with the same id, or of the same function, each one is."""
        basetemp = str(getattr(getattr(self.config, "_tmp_path_factory", None), "_basetemp", None) or "")
        ids: dict[str, int] = {}
        functions: dict[str, list[pytest.Item]] = {}
        for item in items:
            function = function_of(item)
            place = functions.setdefault(function, [])
            self.requests[item] = {
                "nodeid": item.nodeid,
                "path": str(item.path),
                "occurrence": ids.get(item.nodeid, 0),
                "function": function,
                "position": len(place),
                "basetemp": basetemp,
                "foreign": sorted(foreign),
            }
            ids[item.nodeid] = ids.get(item.nodeid, 0) + 1
            place.append(item)
        for item, request in self.requests.items():
            request["count"] = len(functions[function_of(item)])

    def start(self, item: pytest.Item, fds: list[int], patience: float) -> tuple[int, int, int]:
        """Have the template, which has one thread, fork a child."""
        return patiently(lambda: self._ask(item, fds[:-1]), patience), -1, 1

    def _ask(self, item: pytest.Item, fds: list[int]) -> int:
        """Return the pid of a new child for a test, which now has the descriptors."""
        if self.socket is None:
            self.begin()
        pid = self._child(json.dumps(self.requests[item]).encode(), fds)
        if pid is None:
            raise Lost(LOST)
        self.statuses.pop(pid, None)  # of an earlier process with the same pid
        self.orphans.discard(pid)
        self.alive.add(pid)
        return pid

    def _child(self, request: bytes, fds: list[int]) -> int | None:
        """Return the pid of a new child of the current template, or None if the template is lost."""
        assert self.socket is not None
        try:
            socket.send_fds(self.socket, [request], fds)
            while (answer := self._hear()) is not None:
                if "pid" in answer:
                    return int(answer["pid"])
                if "error" in answer:
                    raise OSError(int(answer["errno"]), str(answer["error"]))
        except (TimeoutError, ConnectionError):
            self._lose()
        return None

    def is_orphan(self, pid: int) -> bool:
        """Report whether a child's template is gone; the current one may have ended a moment ago."""
        if self.socket is not None and self.process.poll() is not None:
            self._lose()
        return pid in self.orphans

    def hear(self, pid: int, status: int) -> None:
        """Record the end of an orphan, perhaps before it was known to be one."""
        if pid in self.alive or pid in self.orphans:
            self.alive.discard(pid)
            self.orphans.discard(pid)
            self.statuses[pid] = status

    def reap(self, pid: int, wait: bool = False) -> int | None:
        """Return a child's exit status, or None while it is alive. Kill an orphan whose status nothing can report."""
        while pid in self.alive and self.socket is not None:
            self.socket.settimeout(START if wait else 0)
            try:
                self._hear()
            except BlockingIOError:
                return None
            except TimeoutError:
                self._lose()
            finally:
                if self.socket is not None:
                    self.socket.settimeout(START)
        if pid in self.statuses:
            return self.statuses[pid]
        if self.adopted and not wait:
            return None
        self.orphans.discard(pid)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        raise Lost(LOST)

    def _hear(self) -> dict[str, Any] | None:
        """Return the template's next message, or None if the template has ended."""
        assert self.socket is not None
        try:
            data = self.socket.recv(LIMIT)
        except ConnectionError:
            data = b""
        if not data:
            self._lose()
            return None
        return self._take(data)

    def _take(self, data: bytes) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(data)
        if "ended" in answer:
            self.alive.discard(answer["ended"])
            self.statuses[answer["ended"]] = answer["status"]
        return answer

    def _lose(self) -> None:
        """Handle a template that has ended or does not answer. The next child comes from a new one."""
        assert self.socket is not None
        self.socket.settimeout(0)
        with contextlib.suppress(OSError):  # its last messages
            while data := self.socket.recv(LIMIT):
                self._take(data)
        self.orphans |= self.alive
        self.alive.clear()
        self.close()

    def close(self) -> None:
        """End the template."""
        if self.socket is None:
            return
        if self.poll is not None:
            self.poll.unregister(self.socket)
        self.socket.close()
        self.socket = None
        self.process.kill()
        self.process.wait()
