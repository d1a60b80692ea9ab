"""What the plugin may send: its lines are passed on only if they are events of the protocol."""

from __future__ import annotations

import json
from typing import Any

import protocol
from pyo3test_plugin.lines import MAX_LINE


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
    """Return the event, or None if it is not JSON, not ASCII, or not an event of the plugin's by the protocol."""
    if len(line) >= MAX_LINE or not line.isascii():
        return None
    try:
        event = DECODER.decode(line.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    if protocol.wrong_from_plugin(event):
        return None
    assert isinstance(event, dict)
    return event
