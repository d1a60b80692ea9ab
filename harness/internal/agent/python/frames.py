"""The Python frames of a free-threaded CPython, which py-spy does not know, put between the native ones of gdb."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import Any

from cpython import Runtime, free_threaded

OF_C = (3, 4)
"""Owners of frames that begin a call of the evaluation loop: FRAME_OWNED_BY_CSTACK, or _INTERPRETER since 3.14."""
TAGS = 3
"""The bits of a reference that are no part of the address."""
LOOP = "_PyEval_EvalFrameDefault"
"""CPython's evaluation loop: one call of it runs one group of frames. Compilers may split off parts, with a suffix."""
DEPTH = 500
"""The most frames of a thread that are read."""
LONGEST = 4096
"""The most characters of a name."""


@dataclasses.dataclass
class Code:
    """What is known of a code object."""

    name: str
    filename: str
    first_line: int
    lines: bytes


def read(pid: int, runtimes: list[range]) -> dict[int, list[list[dict[str, Any]]]] | None:
    """Return, by thread, the groups of Python frames, innermost first; None if no runtime is free-threaded.

    The frames of one group were run by one call of the evaluation loop.
    """
    return free_threaded(pid, runtimes, lambda runtime: Reader(runtime).threads())


def is_loop(frame: dict[str, Any]) -> bool:
    """Report whether a native frame is a call of the evaluation loop."""
    name: str = frame["name"]
    return name.partition(".")[0] == LOOP


def merge(native: list[dict[str, Any]], groups: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Put each group of Python frames in the place of the call of the evaluation loop that runs it."""
    left = list(groups)
    merged = []
    for frame in native:
        merged += left.pop(0) if is_loop(frame) and left else [frame]
    return merged + [frame for group in left for frame in group]


def grouped(stack: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the Python frames of py-spy's stack in groups as above: it marks the first one of each call."""
    found: list[list[dict[str, Any]]] = [[]]
    for frame in stack:
        if not frame.get("module"):
            found[-1].append(frame)
            if frame.get("is_entry") or frame.get("is_shim_entry"):
                found.append([])
    return [group for group in found if group]


def cut(stack: list[dict[str, Any]]) -> bool:
    """Report whether py-spy lost the native frames of a stack on the way: all end in one, that of the thread's begin.

    Its unwinder stops in code that can sign return addresses, as the libraries of newer distributions do on aarch64.
    """
    return bool(stack) and bool(stack[0].get("module")) and not stack[-1].get("module")


class Reader:
    """Reads frames and code objects."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.codes: dict[int, Code] = {}

    def threads(self) -> dict[int, list[list[dict[str, Any]]]]:
        """Return the frames of all threads, as far as they can be read. A thread can have several interpreters."""
        found: dict[int, list[list[dict[str, Any]]]] = {}
        for interpreter in self.runtime.interpreters():
            for address in self.runtime.threads(interpreter):
                found.setdefault(self.runtime.word(address, "thread.native_id"), []).extend(self.groups(address))
        return found

    def groups(self, thread: int) -> Iterator[list[dict[str, Any]]]:
        """Return the groups of a thread's frames: those before garbage, if it runs and changes them meanwhile."""
        group: list[dict[str, Any]] = []
        try:
            frame = self.runtime.word(thread, "thread.frame")
            for _ in range(DEPTH):
                if not frame:
                    break
                if self.runtime.data(frame + self.runtime.offset["frame.owner"], 1)[0] in OF_C:
                    yield group
                    group = []
                else:
                    group.append(self.frame(frame))
                frame = self.runtime.word(frame, "frame.previous")
        except (OSError, ValueError, OverflowError, struct.error):
            pass
        if group:
            yield group

    def frame(self, address: int) -> dict[str, Any]:
        """Return a frame in py-spy's format."""
        at = self.runtime.word(address, "frame.executable") & ~TAGS
        if at not in self.codes:
            self.codes[at] = Code(
                self.text(self.runtime.word(at, "code.qualname")),
                self.text(self.runtime.word(at, "code.filename")),
                self.runtime.number(at, "code.first_line"),
                self.content(self.runtime.word(at, "code.lines")),
            )
        code = self.codes[at]
        begin = at + self.runtime.offset["code.adaptive"]
        if "frame.tlbc_index" in self.runtime.offset and (index := self.runtime.number(address, "frame.tlbc_index")):
            copies = self.runtime.word(at, "code.tlbc")  # each thread runs a copy of its own: a length, then addresses
            if 0 < index < self.runtime.word(copies):
                begin = self.runtime.word(copies + 8 + 8 * index) or begin
        line = line_of(code, (self.runtime.word(address, "frame.instruction") - begin) // 2)
        return {"name": code.name, "filename": code.filename, "line": line}

    def text(self, address: int) -> str:
        """Return a string. One that is not ASCII has more fields before its characters, of 1, 2 or 4 bytes."""
        length = self.runtime.word(address, "unicode.length")
        if length > LONGEST:
            raise ValueError("a name is too long")
        start = address + self.runtime.offset["unicode.ascii_size"]
        # "interned" is two bits in 3.13, and a byte since. After it, the lowest bits are the bytes of a character, then
        # "compact" and "ascii".
        state = self.runtime.data(address + self.runtime.offset["unicode.state"], 2)
        bits = state[0] >> 2 if self.runtime.version == 0x030D else state[1]
        if bits >> 4 & 1:
            return self.runtime.data(start, length).decode("ascii", "replace")
        width = bits & 7
        encoding = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}.get(width, "")
        if not encoding:
            raise ValueError("not a string")
        return self.runtime.data(start + 16, length * width).decode(encoding, "replace")

    def content(self, address: int) -> bytes:
        """Return a bytes object."""
        length = self.runtime.word(address, "bytes.length")
        return self.runtime.data(address + self.runtime.offset["bytes.data"], length)


def line_of(code: Code, unit: int) -> int:
    """Return the line of a code unit, 0 if there is none: CPython's InternalDocs/code_objects.md has the format."""
    line, at, end = code.first_line, 0, 0
    data = code.lines

    def number() -> int:
        nonlocal at
        value = shift = 0
        while at < len(data):
            value |= (data[at] & 63) << shift
            shift, more, at = shift + 6, data[at] & 64, at + 1
            if not more:
                break
        return value

    while at < len(data):
        kind, length, at = data[at] >> 3 & 15, (data[at] & 7) + 1, at + 1
        if kind in (13, 14):  # with a difference of lines, and with three more numbers or none
            value = number()
            line += -(value >> 1) if value & 1 else value >> 1
            for _ in range(3 if kind == 14 else 0):
                number()
        elif 10 <= kind <= 12:
            line, at = line + kind - 10, at + 2
        elif kind < 10:
            at += 1
        end += length
        if unit < end:
            return 0 if kind == 15 else line
    return 0
