"""What a forked child sends to its parent: checked frames of plain builtins.

A test may write into any descriptor, so each frame carries a mark and a checksum. Only then is it given to marshal,
which is quick and keeps the tuples that pytest's reports are made of.
"""

from __future__ import annotations

from typing import Any

from .kept import binascii, marshal, os, struct

HEADER = struct.Struct("<4sII")
MARK = b"pyo3"
MAX_FRAME = 64 << 20
PLAIN = (type(None), bool, int, float, str, bytes)
MAX_DEPTH = 40


class Garbage(Exception):
    """The stream holds something that no child of ours wrote."""


def plain(value: Any, depth: int = 0) -> Any:
    """Return the value in exact builtins; anything else becomes its text."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if depth < MAX_DEPTH:
        if kind is dict:
            return {plain(key, depth + 1): plain(each, depth + 1) for key, each in value.items()}
        if kind is list:
            return [plain(each, depth + 1) for each in value]
        if kind is tuple:
            return tuple([plain(each, depth + 1) for each in value])
        if isinstance(value, dict):
            return {plain(key, depth + 1): plain(each, depth + 1) for key, each in value.items()}
        if isinstance(value, (list, set, frozenset)):
            return [plain(each, depth + 1) for each in value]
        if isinstance(value, tuple):
            return tuple([plain(each, depth + 1) for each in value])
    try:
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, os.PathLike):
            return plain(os.fspath(value), depth + 1)
        return str(value)
    except Exception as error:  # the test's own __str__ may raise anything
        return f"<{kind.__name__} whose text raised {type(error).__name__}>"


def frame(message: Any) -> bytes:
    """Return a message as bytes."""
    payload = marshal.dumps(message)
    return HEADER.pack(MARK, len(payload), binascii.crc32(payload)) + payload


class Reader:
    """Puts the frames of one child's stream back together."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[Any, ...]]:
        """Return the messages that are complete now. Raise Garbage, after which the stream is useless."""
        self._data += data
        messages = []
        while len(self._data) >= HEADER.size:
            mark, length, checksum = HEADER.unpack_from(self._data)
            if mark != MARK or length > MAX_FRAME:
                raise Garbage
            end = HEADER.size + length
            if len(self._data) < end:
                break
            payload = bytes(self._data[HEADER.size : end])
            if binascii.crc32(payload) != checksum:
                raise Garbage
            message = marshal.loads(payload)
            if not isinstance(message, tuple) or not message or not isinstance(message[0], str):
                raise Garbage
            messages.append(message)
            del self._data[:end]
        return messages
