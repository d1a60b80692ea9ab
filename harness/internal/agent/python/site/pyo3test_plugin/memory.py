"""The memory limit of the container, from its control group: what the kernel killed, and why.

Both versions of control groups can be read without any privilege. Without either, no kill is attributed to memory.
"""

from __future__ import annotations

from .kept import io

V1 = "/sys/fs/cgroup/memory"
V2 = "/sys/fs/cgroup"
UNLIMITED = 1 << 60


def _counter() -> str:
    for path in (f"{V2}/memory.events", f"{V1}/memory.oom_control"):
        if "oom_kill " in _read(path):
            return path
    return ""


def words() -> str:
    """Return the limit and the peak, for a reader."""
    limit = _number(f"{V2}/memory.max", f"{V1}/memory.limit_in_bytes")
    peak = _number(f"{V2}/memory.peak", f"{V1}/memory.max_usage_in_bytes")
    parts = ["killed by the kernel for memory"]
    if 0 < limit < UNLIMITED:
        parts.append(f"limit {limit >> 20} MiB")
    if peak > 0:
        parts.append(f"peak {peak >> 20} MiB")
    return ", ".join(parts)


class Watch:
    """Distinguishes a kill by the kernel from any other, by the counter: each increment explains one death."""

    def __init__(self) -> None:
        self._path = _counter()
        self._given = self.kills()

    def kills(self) -> int:
        """Return how many processes the kernel has killed so far because memory ran out."""
        for line in _read(self._path).splitlines() if self._path else ():
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.isdigit():
                return int(value)
        return 0

    def explains(self, signal: int | None, before: int = 0) -> bool:
        """Report whether a death by this signal was due to memory; `before` is the count when the process began."""
        if signal != 9:
            return False
        known = max(self._given, before)
        if self.kills() <= known:
            return False
        self._given = known + 1
        return True

    def give(self) -> None:
        """Count one kill as explained by the death of another process."""
        self._given += 1


def choose_tests_first() -> None:
    """Let the kernel kill pytest or what it starts, the largest first, rather than the agent that monitors them."""
    try:
        with io.open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("500")
    except OSError:  # no such file, or no permission: then it chooses by size alone
        pass


def _number(*paths: str) -> int:
    for path in paths:
        text = _read(path).strip()
        if text.isdigit():
            return int(text)
    return 0


def _read(path: str) -> str:
    try:
        with io.open(path, encoding="ascii") as file:
            return file.read()
    except (OSError, ValueError):
        return ""
