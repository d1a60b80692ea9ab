"""Pressure on a test: delays where threads synchronise, and conditions under which a race shows more often.

The delays are those of pressure.c, a library that is loaded into the test's process before all others. Its settings and
counts are on a board: a file that is mapped into each process. The layout is that of `struct board` there.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import subprocess
import sys
from typing import Any

LIBRARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libpressure.so")
VARIABLE = "PYO3TEST_PRESSURE"
HEAD = struct.Struct("=QQIIIIQQQII")
SITE = struct.Struct("=QQQIIII48s")
SITES = 1024
MAGIC = 0x70336F79
WHOLE = 2**32 - 1
"""A probability of 1."""
TOLD = 200
"""How many sites are reported, those with the longest delays first."""
KINDS = (
    "pthread_mutex_lock",
    "pthread_mutex_unlock",
    "pthread_rwlock_rdlock",
    "pthread_rwlock_wrlock",
    "pthread_rwlock_unlock",
    "pthread_cond_wait",
    "pthread_cond_timedwait",
    "pthread_cond_clockwait",
    "pthread_cond_signal",
    "pthread_cond_broadcast",
    "sem_wait",
    "sem_timedwait",
    "sem_clockwait",
    "sem_post",
    "pthread_create",
    "pthread_join",
    "futex",
    "code",
)
"""The kinds of points by their number: calls, and edges of the crate's own code."""


class Pressure:
    """The pressure on one run of pytest."""

    def __init__(self, command: dict[str, Any], folder: str, library: str = LIBRARY) -> None:
        if not os.path.exists(library):
            raise ValueError(f"{library} is missing: delays are only made on x86_64 and aarch64")
        self.command = command
        self.library = library
        self.board = os.path.join(folder, "pressure.board")
        directed = sorted(command["directed"])
        with open(self.board, "wb") as board:
            board.write(
                HEAD.pack(
                    MAGIC,
                    command["seed"],
                    int(command["calls"] * WHOLE),
                    int(command["code"] * WHOLE),
                    int(command["share"] * WHOLE),
                    len(directed),
                    int(command["longest"] * 1e9),
                    int(command["budget"] * 1e9),
                    0,
                    0,
                    0,
                )
            )
            board.write(bytes(SITE.size * SITES))
            board.write(struct.pack(f"={len(directed)}I", *directed))
        self.load = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL)
            for _ in range(command["load"])
        ]

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        """Return an environment with the library, beside those that are preloaded anyway."""
        others = env.get("LD_PRELOAD", "")
        return {**env, "LD_PRELOAD": f"{self.library} {others}".strip(), VARIABLE: self.board}

    def end(self) -> dict[str, Any]:
        """Return the event that says what was delayed, and remove the board."""
        for process in self.load:
            process.kill()
            process.wait()
        self.load = []
        with open(self.board, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as board:
            slept, timed, lost = HEAD.unpack_from(board)[-3:]
            rows = [SITE.unpack_from(board, HEAD.size + number * SITE.size) for number in range(SITES)]
        with contextlib.suppress(OSError):
            os.unlink(self.board)
        sites = [
            {
                "kind": KINDS[kind] if kind < len(KINDS) else "",
                "module": module.split(b"\0")[0].decode("utf-8", "replace") or "python",
                "offset": offset,
                "delays": delays,
                "slept": nanoseconds / 1e9,
            }
            for key, offset, nanoseconds, _, delays, kind, _, module in rows
            if key and delays
        ]
        sites.sort(key=lambda site: -float(str(site["slept"])))
        return {"sites": sites[:TOLD], "slept": slept / 1e9, "timed": timed, "lost": lost}
