"""What the plugin may send: its lines are passed on only if they are events of the protocol."""

from __future__ import annotations

import json
from typing import Any

from pyo3test_plugin.lines import MAX_LINE

KINDS = {
    "session", "collecting", "collect-error", "collect-skip", "item", "collected",
    "foreign", "start", "phase", "report", "finish", "warning", "finished", "leave",
}  # fmt: skip
NUMBERS = ("index", "pid", "threads", "count", "line", "workers", "exitstatus", "exit", "signal")
LARGEST = 2**31 - 1


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


DECODER = json.JSONDecoder(parse_constant=_refuse)


class Splitter:
    """Splits a stream into lines. A line that is too long is truncated, and is then no event."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now."""
        lines = []
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._keep(end)
            line = b"".join(self._parts)
            if line:
                lines.append(line)
            self._parts, self._length = [], 0
        self._keep(rest)
        return lines

    def rest(self) -> bytes:
        """Return what came after the end of the last line."""
        return b"".join(self._parts)

    def _keep(self, part: bytes) -> None:
        room = MAX_LINE - self._length
        if part and room > 0:
            self._parts.append(part[:room])
            self._length += len(part)


def check(line: bytes) -> dict[str, Any] | None:
    """Return the event, or None if it is not JSON, not ASCII, not of the protocol, or has an invalid number."""
    if len(line) >= MAX_LINE or not line.isascii():
        return None
    try:
        event = DECODER.decode(line.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or "t" in event or len(event) < 2:
        return None
    if not isinstance(event.get("ev"), str) or event["ev"] not in KINDS:
        return None
    for name in NUMBERS:
        value = event.get(name)
        if value is not None and not (type(value) is int and -LARGEST <= value <= LARGEST):
            return None
    return event
