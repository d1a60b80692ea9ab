"""JSON lines of bounded length: what the agent, the plugin and the Go side exchange."""

from __future__ import annotations

import json
from typing import Any

MAX_LINE = 1 << 20
"""No line is longer, including its newline. The Go side reads no more than twice this."""

ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
"""Made once: json.dumps makes one per line, which takes longer than the line itself."""

WHOLE = frozenset({"ev", "nodeid", "junit", "path", "file", "module"})
"""Fields with names, which would be worthless if cut."""


def clip(text: str, limit: int, whole: str = "") -> str:
    """Return the text, or its head and tail with a note that gives the bytes left out, and the file that has them."""
    if len(text) <= limit:
        return text
    head = limit // 2
    tail = limit - head
    middle = len(text[head:-tail].encode("utf-8", "surrogatepass"))
    where = f", all is in {whole}" if whole else ""
    return f"{text[:head]}\n[... {middle} bytes left out{where} ...]\n{text[-tail:]}"


def encode(record: dict[str, Any]) -> bytes:
    """Return one line of ASCII JSON, at most MAX_LINE bytes: long texts lose their middle, long lists their end."""
    line = _dump(record)
    text_limit, list_limit = MAX_LINE // 4, 4096
    while len(line) >= MAX_LINE and text_limit >= 64:
        line = _dump({key: _bound(key, value, text_limit, list_limit) for key, value in record.items()})
        text_limit //= 2
        list_limit = max(list_limit // 2, 16)
    if len(line) >= MAX_LINE:  # a name of megabytes: nothing sensible is left to report
        line = _dump(
            {"ev": "error", "message": f"an event of {len(line)} bytes ({str(record.get('ev'))[:40]}) was dropped"}
        )
    return line + b"\n"


def _dump(record: dict[str, Any]) -> bytes:
    return ENCODER.encode(record).encode("ascii")


def _bound(key: str, value: Any, text_limit: int, list_limit: int) -> Any:
    if key in WHOLE:
        return value
    if isinstance(value, str):
        return clip(value, text_limit)
    if isinstance(value, (list, tuple)):
        return [_bound("", each, text_limit, list_limit) for each in value[:list_limit]]
    if isinstance(value, dict):
        return {name: _bound(name, each, text_limit, list_limit) for name, each in list(value.items())[:list_limit]}
    return value
