"""Pressure on a test: delays where threads synchronise, and conditions under which a race shows more often.

The delays are those of pressure.c, a library that is loaded into the test's process before all others. Its settings and
counts are on a board: a file that is mapped into each process. The layout is that of `struct board` there.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.path.join(HERE, "libpressure.so")
BALLAST = os.path.join(HERE, "ballast.py")
VARIABLE = "PYO3TEST_PRESSURE"
HEAD = struct.Struct("=QQIIIIQQQII")
SITE = struct.Struct("=QQQIIII48s")
SITES = 1024
MAGIC = 0x70336F79
WHOLE = 2**32 - 1
"""A probability of 1."""
MOST = 200
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
    "thread start",
)
"""The kinds of points by their number: calls, edges of the crate's own code, and starts of threads."""


class Pressure:
    """The pressure on one run of pytest. The library and its board are only there if threads are to be delayed."""

    def __init__(self, command: dict[str, Any], folder: str, library: str = LIBRARY) -> None:
        self.command = command
        self.library = library
        self.board = -1
        self.path = os.path.join(folder, "pressure.board")
        self.beside: list[subprocess.Popen[bytes]] = []
        self.ballast: subprocess.Popen[bytes] | None = None
        self.full = False
        if not command["calls"] and not command["code"]:
            return
        if not os.path.exists(library):
            raise ValueError("there is no library for delays in the tools image: its base could not compile it")
        directed = sorted(command["directed"])
        head = HEAD.pack(
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
        # It stays open: a test may remove the file.
        self.board = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.write(self.board, head + bytes(SITE.size * SITES) + struct.pack(f"={len(directed)}I", *directed))

    def begin(self) -> None:
        """Start the processes that compute beside the test, and the one that fills the memory."""
        for _ in range(self.command["load"]):
            argv = [sys.executable, "-I", "-S", "-c", "while True: pass"]
            self.beside.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL))
        if self.command["memory"]:
            argv = [sys.executable, "-I", "-S", BALLAST]
            self.ballast = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            assert self.ballast.stdout is not None
            self.beside.append(self.ballast)
            if not self.ballast.stdout.readline():
                status = self.ballast.wait()
                raise ValueError(f"the memory of the container cannot be filled: ballast.py ended with status {status}")

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        """Return an environment with the library, beside those that are preloaded anyway."""
        if self.board < 0:
            return env
        others = env.get("LD_PRELOAD", "")  # sanitizers insist on being first
        return {**env, "LD_PRELOAD": f"{others} {self.library}".strip(), VARIABLE: self.path}

    def plugin(self) -> dict[str, Any]:
        """Return what the plugin has to know."""
        return {name: value for name, value in self.command.items() if name != "directed"}  # which can be long

    def settle(self) -> None:
        """Note whether the memory is still full: the kernel may have killed what fills it."""
        self.full = self.ballast is not None and self.ballast.poll() is None

    def end(self) -> dict[str, Any]:
        """Return the event that says what was done to the test, and remove the board."""
        for process in self.beside:
            process.kill()
            process.wait()
        nothing = {"sites": [], "slept": 0.0, "timed": 0, "lost": 0, "full": self.full}
        if self.board < 0:
            return nothing
        board = os.pread(self.board, HEAD.size + SITES * SITE.size, 0)
        os.close(self.board)
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        if len(board) < HEAD.size + SITES * SITE.size:  # a test truncated it
            return nothing
        slept, timed, lost = HEAD.unpack_from(board)[-3:]
        rows = [SITE.unpack_from(board, HEAD.size + number * SITE.size) for number in range(SITES)]
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
        return {"sites": sites[:MOST], "slept": slept / 1e9, "timed": timed, "lost": lost, "full": self.full}
