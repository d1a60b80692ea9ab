"""Fill the container's memory up to a margin below its limit, print a line, and keep it full until this is killed.

The kernel then takes back the pages of programs and libraries again and again, and a process that needs them waits for
the disk. A test that needs more memory gets it: what is held is given back, and if that is too late, the kernel kills
this process first. The machine keeps a margin too.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MARGIN = 32 << 20
"""How many bytes the test has left."""
MACHINE = 1 << 30
"""How many bytes the machine has left."""
STEP = 16 << 20
"""How many bytes are taken or given back at a time."""
NO_LIMIT = 1 << 60
"""A limit from which on there is none; version 1 has a number near 2^63 for that."""


def read(names: tuple[str, str], folder: Path) -> int | None:
    """Return a number of the memory controller: the names are those of its versions 2 and 1."""
    for name in names:
        try:
            return int((folder / name).read_text())
        except (OSError, ValueError):  # "max" is no limit
            continue
    return None


def left(folder: Path = CGROUPS) -> int | None:
    """Return how many bytes the container could still use, or None if it has no limit.

    Pages of files count as free, but for shared memory, which has no file on a disk.
    """
    limit = read(("memory.max", "memory/memory.limit_in_bytes"), folder)
    used = read(("memory.current", "memory/memory.usage_in_bytes"), folder)
    if limit is None or used is None or limit >= NO_LIMIT:
        return None
    for name, files, shared in (
        ("memory.stat", "file", "shmem"),
        ("memory/memory.stat", "total_cache", "total_shmem"),
    ):
        if (folder / name).exists():
            rows = dict(line.split() for line in (folder / name).read_text().splitlines())
            used -= int(rows.get(files, 0)) - int(rows.get(shared, 0))
    return limit - used


def machine() -> int:
    """Return how many bytes the machine could still use: proc(5)."""
    rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) << 10


def adjust(held: list[bytes], free: int) -> bool:
    """Take or give back memory, one step, and return whether there is more to do."""
    if free >= MARGIN + STEP:
        held.append(b"\1" * STEP)  # written to: pages that are only asked for take no memory
        return True
    if free < MARGIN and held:
        held.pop()
        return True
    return False


def main() -> None:
    Path("/proc/self/oom_score_adj").write_text("1000")
    held: list[bytes] = []
    reported = False
    while (free := left()) is not None:
        if not adjust(held, min(free, machine() - MACHINE)):
            if not reported:
                print("full", flush=True)
                reported = True
            time.sleep(0.02)
    sys.exit("this container has no limit of memory")


if __name__ == "__main__":
    main()
