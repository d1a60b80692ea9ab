"""The structures of CPython 3.13 and later in another process, read through /proc.

`_PyRuntime` begins with a table that says where they are: struct _Py_DebugOffsets of pycore_runtime.h (3.13) and
pycore_debug_offsets.h (3.14 and 3.15). It has 64-bit words; which word says what changes with each release.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import TypeVar

COOKIE = b"xdebugpy"
WORD = struct.Struct("<Q")

_3_13 = {
    "table": "cookie version free_threaded",
    "runtime": "size finalizing interpreters",
    "interpreter": "size id next threads gc modules sys builtins gil gil_state enabled locked holder",
    "thread": "size prev next interpreter frame thread_id native_id chunk status",
    "exception": "",
    "frame": "size previous executable instruction locals owner",
    "code": "size filename name qualname lines first_line arguments local_names local_kinds adaptive",
    "object": "size type",
    "type": "size name repr flags",
    "heap_type": "",
    "tuple": "size items length",
    "list": "size items length",
    "set": "",
    "dict": "size keys values",
    "float": "size value",
    "long": "size tag digits",
    "bytes": "size length data",
    "unicode": "size state length ascii_size",
}
_3_14 = {
    **_3_13,
    "interpreter": "size id next threads main gc modules sys builtins gil gil_state enabled locked holder codes tlbc",
    "frame": "size previous executable instruction locals owner stack tlbc_index",
    "code": _3_13["code"] + " tlbc",
    "set": "size used table mask",
}
_3_15 = {
    **_3_14,
    "thread": "size prev next interpreter frame base_frame profiled profiled_number thread_id native_id chunk status"
    " holds_gil gil_requested exception exceptions",
    "exception": "value",
    "type": _3_14["type"] + " basic_size dict",
    "heap_type": "size cached_keys",
    "unicode": _3_14["unicode"] + " compact_size",
}
TABLES = {0x030D: _3_13, 0x030E: _3_14, 0x030F: _3_15}
"""The words of the table, by major and minor version."""
STATE = {0x030D: 8, 0x030E: 12, 0x030F: 16}
"""The distance from a thread state's `_status` to its `state`: cpython/pystate.h."""

MOST = 1024
"""The most elements of a list that are read; one that is longer is taken for garbage."""
LARGEST = 8 << 20
"""The most bytes of one structure."""

Seen = TypeVar("Seen")


class Runtime:
    """One `_PyRuntime` of a process. Whatever cannot be read raises OSError or ValueError."""

    def __init__(self, pid: int, place: range) -> None:
        self.place = place
        self.file = open(f"/proc/{pid}/mem", "rb", buffering=0)
        try:
            head = self.data(place.start, 3 * WORD.size)
            self.version = version = WORD.unpack_from(head, WORD.size)[0] >> 16
            if head[: len(COOKIE)] != COOKIE or version not in TABLES:
                raise ValueError("not a CPython that is understood")
            self.free_threaded = WORD.unpack_from(head, 2 * WORD.size)[0] != 0
            names = [f"{of}.{name}" for of, words in TABLES[version].items() for name in words.split()]
            words = struct.unpack(f"<{len(names)}Q", self.data(place.start, len(names) * WORD.size))
            self.offset = dict(zip(names, words))
            self.state = self.offset["thread.status"] + STATE[version]
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def data(self, address: int, size: int) -> bytes:
        """Return memory, all of it or none."""
        if not 0 <= size <= LARGEST:
            raise ValueError(f"{size} bytes")
        data = os.pread(self.file.fileno(), size, address)
        if len(data) != size:
            raise ValueError(f"no memory at {address:#x}")
        return data

    def word(self, address: int, name: str = "") -> int:
        """Return a 64-bit word, of a field of the structure at the address if a name is given."""
        number: int = WORD.unpack(self.data(address + (self.offset[name] if name else 0), WORD.size))[0]
        return number

    def number(self, address: int, name: str) -> int:
        """Return a field that is a 32-bit integer."""
        number: int = struct.unpack("<i", self.data(address + self.offset[name], 4))[0]
        return number

    def chain(self, address: int, name: str) -> Iterator[int]:
        """Return the addresses of a linked list: the first one, and those that the field leads to."""
        for _ in range(MOST):
            if not address:
                return
            yield address
            address = self.word(address, name)
        raise ValueError("a list has no end")

    def interpreters(self) -> Iterator[int]:
        """Return the addresses of the interpreters."""
        return self.chain(self.word(self.place.start, "runtime.interpreters"), "interpreter.next")

    def threads(self, interpreter: int) -> Iterator[int]:
        """Return the addresses of the states of an interpreter's threads."""
        return self.chain(self.word(interpreter, "interpreter.threads"), "thread.next")


def free_threaded(pid: int, runtimes: list[range], look: Callable[[Runtime], Seen]) -> Seen | None:
    """Return what is seen of the first runtime that is free-threaded and can be read, or None."""
    for place in runtimes:
        try:
            with Runtime(pid, place) as runtime:
                if runtime.free_threaded:
                    return look(runtime)
        except (OSError, ValueError, OverflowError, struct.error):
            continue
    return None
