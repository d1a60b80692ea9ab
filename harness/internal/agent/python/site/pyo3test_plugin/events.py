"""The plugin's end of the event pipe."""

from __future__ import annotations

from typing import Any

from .kept import json, os, select
from .lines import encode


class Events:
    """Writes events to the agent and reads its messages.

    Only the process that created the object sends events: if a test forks and its child continues, nothing may be
    reported twice.
    """

    def __init__(self, events: int, control: int) -> None:
        self.owner = os.getpid()
        self.fd = events
        self.control = control
        self._heard = b""
        self._held: list[bytes] | None = None
        for fd in (events, control):
            if fd >= 0:
                os.set_inheritable(fd, False)
        if control >= 0:
            os.set_blocking(control, False)

    def send(self, kind: str, **fields: Any) -> None:
        """Send one event."""
        self.send_all((kind, fields))

    def send_all(self, *events: tuple[str, dict[str, Any]]) -> None:
        """Send events that belong together with one write."""
        lines = [encode({"ev": kind, **fields}) for kind, fields in events]
        if self._held is not None:
            self._held += lines
        else:
            self._write(b"".join(lines))

    def hold(self) -> None:
        """Keep events until `release`: each write wakes the agent, which costs as much as a report."""
        self._held = []

    def flush(self) -> None:
        """Write the held events, and keep holding."""
        if self._held:
            held, self._held = self._held, []
            self._write(b"".join(held))

    def release(self) -> None:
        """Write the held events, and stop holding."""
        held, self._held = self._held, None
        self._write(b"".join(held or ()))

    def _write(self, line: bytes) -> None:
        if self.fd < 0 or os.getpid() != self.owner:
            return
        data = memoryview(line)
        while data:
            try:
                data = data[os.write(self.fd, data) :]
            except BlockingIOError:
                select.select([], [self.fd], [], 1.0)
            except OSError:  # the agent is gone, or a test closed the descriptor
                self.fd = -1
                return

    def heard(self) -> list[dict[str, Any]]:
        """Return what the agent has sent since the last call. Never waits."""
        while self.control >= 0:
            try:
                data = os.read(self.control, 65536)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.control = -1
                break
            self._heard += data
        *lines, self._heard = self._heard.split(b"\n")
        return [words for words in map(_words, lines) if words is not None]

    def wait_for(self, key: str) -> dict[str, Any] | None:
        """Wait for a message of the agent with that key; return None if the agent is gone."""
        while self.control >= 0:
            select.select([self.control], [], [])
            for words in self.heard():
                if key in words:
                    return words
        return None

    def close_in_child(self) -> None:
        """Close the pipes: neither a forked child nor the daemons that its test may leave have any use for them."""
        for fd in (self.fd, self.control):
            if fd >= 0:
                os.close(fd)
        self.fd = self.control = -1


def _words(line: bytes) -> dict[str, Any] | None:
    """Return the agent's message, or None if it is not one: a test may have written there too."""
    try:
        words = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return words if isinstance(words, dict) else None
