"""A forked child as its parent sees it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from . import wire
from .kept import os, signal


@dataclasses.dataclass
class Running:
    """A child as its parent sees it. Its test begins when its gate is opened."""

    index: int
    item: pytest.Item
    pid: int
    told: int
    """The file that the child writes its messages to, read when it has ended: nothing wakes the parent before."""
    pidfd: int
    out: int
    err: int
    gate: int
    """The pipe that the child reads before it begins. If it is closed unwritten, even by pytest's death, the child
    exits."""
    threads: int
    started: float = 0.0
    wall: float = 0.0
    kills: int = 0
    reports: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    warnings: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    properties: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    phase: str = "setup"
    done: bool = False
    broken: str = ""
    interrupt: tuple[Any, ...] | None = None
    stop: tuple[Any, Any] | None = None
    """The session's shouldfail and shouldstop, if the test or a hook in the child has set one."""
    reason: str | None = None
    message: str = ""
    exit: int | None = None
    signal: int | None = None

    def read(self) -> None:
        """Read what the child has written, up to anything that no child of ours wrote."""
        reader, offset = wire.Reader(), 0
        try:
            while data := os.pread(self.told, 1 << 20, offset):
                offset += len(data)
                for message in reader.feed(data):
                    self._take(message)
        except (wire.Garbage, ValueError, TypeError, EOFError, IndexError, OSError):
            self.done = False

    def _take(self, message: tuple[Any, ...]) -> None:
        kind = message[0]
        if kind == "phase":
            self.phase = str(message[1])
        elif kind == "report" and isinstance(message[1], dict):
            self.reports.append(message[1])
        elif kind == "warning" and len(message) == 5:
            self.warnings.append(message)
        elif kind == "properties":
            self.properties += [(str(name), str(value)) for name, value in message[1]]
        elif kind == "stop" and len(message) == 3:
            self.stop = (message[1], message[2])
        elif kind == "interrupt" and len(message) == 4:
            self.interrupt = message
        elif kind == "broken":
            self.broken = str(message[1])
        elif kind == "done":
            self.done = True
        else:
            raise wire.Garbage

    def close(self) -> None:
        """Close the descriptors that connect the parent with it."""
        for fd in (self.told, self.pidfd, self.out, self.err, self.gate):
            if fd >= 0:
                os.close(fd)

    def kill(self) -> None:
        """Kill the child and what is still in its group."""
        for kill in (os.killpg, os.kill):
            try:
                kill(self.pid, signal.SIGKILL)
            except OSError:
                pass
