"""Children with an interpreter of their own each, by way of the template, as the fork runner sees them."""

from __future__ import annotations

import contextlib
import errno
import socket
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from .forks import patiently
from .kept import json, os, select, signal
from .lone import function_of
from .running import Running
from .template import LIMIT

SITE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = f"import sys; sys.path.insert(0, {SITE!r}); import {__package__}.template as t; t.serve(int(sys.argv[1]))"
START = 60.0
"""Seconds that the template may take to start, which it does in a quarter of one."""


class Fresh:
    """The template, and what becomes of its children: a starter of the fork runner's."""

    sees_pytest = False
    warnings_heard = False

    def __init__(self, config: pytest.Config, world: dict[str, Any], environment: dict[str, str]) -> None:
        self.config = config
        self.statuses: dict[int, int] = {}
        self.requests: dict[pytest.Item, dict[str, Any]] = {}
        self.broken = ""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
            self.process = subprocess.Popen(
                [sys.executable, *flags, "-c", PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
            )
        self.socket = ours
        ours.settimeout(START)
        ours.send(json.dumps(world).encode())

    def finish(self) -> None:
        """Nothing was changed."""

    def watch(self, poll: select.poll) -> None:
        """The template tells of ends."""
        poll.register(self.socket, select.POLLIN)

    def pause(self, running: Iterable[Running]) -> int | None:
        """None at all where an end was told with the answer to something else."""
        return 0 if any(each.pid in self.statuses for each in running) else None

    def may_go_ahead(self) -> bool:
        """Always: its children see nothing of this process."""
        return True

    def prepare(self, items: list[pytest.Item], foreign: set[str]) -> None:
        """Find out which of several tests of one id, or function, each is."""
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
        """Have one forked by the template, which has one thread."""
        return patiently(lambda: self._ask(item, fds[:-1]), patience), -1, 1

    def _ask(self, item: pytest.Item, fds: list[int]) -> int:
        """The pid of a child for a test, which has the descriptors from now on."""
        if self.broken:
            raise OSError(errno.EPIPE, self.broken)
        try:
            socket.send_fds(self.socket, [json.dumps(self.requests[item]).encode()], fds)
            while True:
                answer = self._hear()
                if answer is None:
                    raise OSError(errno.EPIPE, self.broken)
                if "pid" in answer:
                    self.statuses.pop(answer["pid"], None)  # another's, long ago
                    return int(answer["pid"])
                if "error" in answer:
                    raise OSError(int(answer["errno"]), str(answer["error"]))
        except TimeoutError as late:
            self._lost("does not answer")
            raise OSError(errno.ETIMEDOUT, self.broken) from late
        except BrokenPipeError as gone:
            self._lost("has ended")
            raise OSError(errno.EPIPE, self.broken) from gone

    def reap(self, pid: int, wait: bool = False) -> int | None:
        """A child's exit status, None while it lives. Without the template nobody knows it, and the child is killed."""
        while pid not in self.statuses and not self.broken:
            self.socket.settimeout(START if wait else 0)
            try:
                if self._hear() is None:
                    break
            except BlockingIOError:
                return None
            finally:
                if self.socket.fileno() >= 0:
                    self.socket.settimeout(START)
        if pid in self.statuses:
            return self.statuses[pid]
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        raise ChildProcessError(errno.ECHILD, self.broken)

    def _hear(self) -> dict[str, Any] | None:
        try:
            data = self.socket.recv(LIMIT)
        except ConnectionError:
            data = b""
        if not data:
            self._lost("has ended")
            return None
        answer: dict[str, Any] = json.loads(data)
        if "ended" in answer:
            self.statuses[answer["ended"]] = answer["status"]
        return answer

    def _lost(self, how: str) -> None:
        self.broken = f"the process that tests with a fresh interpreter are forked from {how}"

    def close(self) -> None:
        """End the template."""
        self.socket.close()
        self.process.kill()
        self.process.wait()
