"""Where CPython keeps the lock of its interpreter (the GIL), and its state: read from outside, through /proc.

A thread that wants the GIL waits in steps of a few milliseconds, so its wait looks like any other with a timeout. It is
recognized by its address, which is inside `_PyRuntime`, the one variable that holds CPython's own state: locks, queues
and events of programs are in heaps and on stacks, and nothing else in `_PyRuntime` is waited for with a timeout. Around
that address there must be the fields of the GIL.
"""

from __future__ import annotations

import dataclasses
import os
import struct

SYMBOL = b"_PyRuntime"
MAX_SYMBOLS = 1 << 20

# struct _gil_runtime_state of CPython 3.7 to 3.15, with 64 bits: interval, last_holder, locked, switch_number, cond.
# The free-threaded build has one more field before them.
GIL = struct.Struct("<QQi4xQ")
SIGNALS = (40, 44, 32, 36)
"""The offsets in glibc's pthread_cond_t where a waiter may wait: the first two until 2.40, the others since."""
LOWEST_POINTER = 1 << 16
LONGEST_INTERVAL = 10_000_000
"""Microseconds; sys.setswitchinterval accepts more, but no program asks for it. The default is 5000."""


@dataclasses.dataclass(frozen=True)
class Mapping:
    """One line of /proc/PID/maps."""

    start: int
    end: int
    flags: str
    offset: int
    path: str

    @property
    def own(self) -> bool:
        """Report whether only the process itself can wake what waits there.

        Private, because another process can have a part of a shared mapping. Writable, because a wait on a page that is
        private and only read may be keyed by the kernel to the file's own page, which other processes can map.
        """
        return self.flags[1] == "w" and self.flags[3] == "p"

    @property
    def name(self) -> str:
        """Return the name of the memory for a reader."""
        return os.path.basename(self.path) or "memory without a file"


def mappings(pid: int) -> list[Mapping]:
    """Return the address space of a process."""
    found = []
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            span, flags, offset, _, _, *path = line.rstrip("\n").split(" ", 5)
            start, _, end = span.partition("-")
            found.append(Mapping(int(start, 16), int(end, 16), flags, int(offset, 16), path[0].strip() if path else ""))
    return found


def mapping_of(address: int, space: list[Mapping]) -> Mapping | None:
    """Return the mapping that holds an address."""
    return next((each for each in space if each.start <= address < each.end), None)


@dataclasses.dataclass(frozen=True)
class Gil:
    """The GIL at one moment."""

    interval: int
    holder: int
    """The thread state that took it last."""
    locked: int
    switches: int
    """How often a thread other than the last holder took it: never decreases."""


def runtimes(space: list[Mapping]) -> list[range]:
    """Return the addresses of each `_PyRuntime` of a process. A Python without the symbol is not found."""
    found = []
    for each in space:
        name = os.path.basename(each.path)
        if each.offset == 0 and name.startswith(("python", "libpython")):
            try:
                place = _symbol(each.path)
            except (OSError, ValueError, struct.error):
                continue
            if place is not None:
                found.append(range(each.start + place.start, each.start + place.stop))
    return found


def read(pid: int, address: int) -> Gil | None:
    """Return the GIL at whose condition variable a thread waits, or None if the memory there does not look like one."""
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for offset in SIGNALS:
                place = address - offset - GIL.size
                if place % 8:
                    continue
                interval, holder, locked, switches = GIL.unpack(os.pread(memory.fileno(), GIL.size, place))
                if (
                    0 < interval <= LONGEST_INTERVAL
                    and locked in (0, 1)
                    and holder >= LOWEST_POINTER
                    and holder % 8 == 0
                ):
                    return Gil(interval, holder, locked, switches)
    except (OSError, ValueError, OverflowError, struct.error):
        pass
    return None


def _symbol(path: str) -> range | None:
    """Return where `_PyRuntime` is in a 64-bit ELF file, relative to the beginning of its first segment."""
    with open(path, "rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
            return None
        programs, sections = struct.unpack_from("<QQ", header, 32)
        program_size, program_count, section_size, section_count = struct.unpack_from("<HHHH", header, 54)

        def part(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        base = None
        for i in range(program_count):
            kind, _, offset, address = struct.unpack("<IIQQ", part(programs + i * program_size, 24))
            if kind == 1 and offset == 0:  # PT_LOAD
                base = address
        table = [struct.unpack("<IIQQQQIIQQ", part(sections + i * section_size, 64)) for i in range(section_count)]
        for section in table:
            if section[1] != 11 or base is None or section[5] > MAX_SYMBOLS * 24:  # SHT_DYNSYM
                continue
            names = part(table[section[6]][4], table[section[6]][5])
            wanted = names.find(b"\0" + SYMBOL + b"\0") + 1
            for name, _, _, index, value, size in struct.iter_unpack("<IBBHQQ", part(section[4], section[5])):
                if wanted and name == wanted and index:
                    return range(value - base, value - base + size)
    return None
