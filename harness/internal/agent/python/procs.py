"""The tree of processes below the agent: which ones exist, and how to end them for good."""

from __future__ import annotations

import dataclasses
import os
import signal
import time

PATIENCE = 5.0
"""Seconds to try to end a tree. A process in an uninterruptible wait may take longer than is worth waiting for."""

NAMED = 50
"""How many of the killed processes are named."""
CROWD = 300
"""With more processes than this they take all processor time: to check each would take the agent minutes."""


@dataclasses.dataclass(frozen=True)
class Process:
    """One process, from /proc. The start time, in clock ticks since boot, tells a reused pid from the old one."""

    pid: int
    parent: int
    group: int
    state: str
    started: int

    @property
    def dead(self) -> bool:
        """Report whether it has ended and waits for its parent to reap it."""
        return self.state in ("Z", "X")

    @property
    def identity(self) -> tuple[int, int]:
        """Return what no other process has."""
        return self.pid, self.started


def _stat(path: str) -> list[bytes] | None:
    """Return the fields of a stat file from the state on, or None if the process or thread is gone: proc(5)."""
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError:
        return None
    return text[text.rindex(b")") + 2 :].split()  # the name in parentheses may hold anything


def look(pid: int) -> Process | None:
    """Return one process, or None if no process has that pid."""
    fields = _stat(f"/proc/{pid}/stat")
    if fields is None:
        return None
    return Process(pid, int(fields[1]), int(fields[2]), fields[0].decode("ascii"), int(fields[19]))


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, without that of its ended children; 0 if it is gone."""
    fields = _stat(f"/proc/{pid}/stat")
    if fields is None:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def everything() -> dict[int, Process]:
    """Return all processes of this pid namespace."""
    found = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process is not None}


def below(root: int, table: dict[int, Process]) -> list[Process]:
    """Return all descendants of a process, without the process itself, parents first."""
    children: dict[int, list[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found, queue = [], [root]
    while queue:
        for process in children.pop(queue.pop(0), []):
            found.append(process)
            queue.append(process.pid)
    return found


def is_below(pid: int, root: int, table: dict[int, Process]) -> bool:
    """Report whether a process descends from another."""
    return any(process.pid == pid for process in below(root, table))


def command(pid: int) -> str:
    """Return the command line of a process, or its name."""
    for name in ("cmdline", "comm"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                text = file.read(4096).replace(b"\0", b" ").strip()
        except OSError:
            continue
        if text:
            return text.decode("utf-8", "replace")[:300]
    return ""


def current_test(pid: int) -> str:
    """Return the node id of the test in which a program was started, from its environment, or "" if it has none."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return ""
    name = b"PYTEST_CURRENT_TEST="
    value = next((each[len(name) :] for each in variables if each.startswith(name)), b"")
    return value.decode("utf-8", "surrogateescape").rpartition(" (")[0]


def send(pid: int, number: int) -> bool:
    """Send a signal; return False if the process is gone or not ours."""
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def crowd() -> int:
    """Return the number of processes if they are too many to check each, else 0."""
    count = sum(name.isdigit() for name in os.listdir("/proc"))
    return count if count > CROWD else 0


def send_group(pid: int, number: int) -> None:
    """Send a signal to a process and its whole group at once, if it leads a group of its own."""
    try:
        if os.getpgid(pid) == pid != os.getpgrp():
            os.killpg(pid, number)
    except OSError:
        pass


def kill_trees(roots: list[int], with_roots: bool = True) -> list[dict[str, object]]:
    """Freeze the trees, so that no process can fork away from the signal, then kill them; repeat until none is left.

    A process that was seen in a tree stays marked when its parent dies and the agent adopts it. Return what was killed.
    """
    marked: dict[tuple[int, int], Process] = {}
    killed: list[dict[str, object]] = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        fresh = True
        while fresh and time.monotonic() < deadline:
            table = everything()
            members = [table[root] for root in roots if with_roots and root in table]
            for root in roots:
                members += below(root, table)
            for process in list(marked.values()):
                if table.get(process.pid, process).started == process.started:
                    members += below(process.pid, table)
            fresh = False
            for process in members:
                if process.identity in marked or process.dead or process.pid == os.getpid():
                    continue
                marked[process.identity] = process
                words = command(process.pid) if len(killed) < NAMED else ""
                killed.append({"pid": process.pid, "cmd": words})
                fresh = send(process.pid, signal.SIGSTOP) or fresh
        alive = [process for process in marked.values() if _alive(process)]
        if not alive:
            break
        for process in alive:
            send(process.pid, signal.SIGKILL)
        time.sleep(0.001)
    return killed


def _alive(process: Process) -> bool:
    now = look(process.pid)
    return now is not None and now.started == process.started and not now.dead


def reap(keep: set[int]) -> list[tuple[int, int]]:
    """Reap the agent's zombies, except those in `keep`; return how each ended."""
    ended = []
    for pid in own_children():
        process = look(pid) if pid not in keep else None
        if process is not None and process.dead:
            try:
                ended.append(os.waitpid(pid, os.WNOHANG))
            except OSError:
                pass
    return [(pid, status) for pid, status in ended if pid]


def own_children() -> list[int]:
    """Return the pids of our children, including adopted ones."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # a kernel without that file
        return [process.pid for process in everything().values() if process.parent == os.getpid()]


def ticks_now() -> int:
    """Return the time in the unit of a process's start time."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def threads(pid: int) -> list[int]:
    """Return the threads of a process; none if it is gone."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def state(pid: int, thread: int) -> str:
    """Return the state of a thread as one letter, or "" if it is gone."""
    fields = _stat(f"/proc/{pid}/task/{thread}/stat")
    return "" if fields is None else fields[0].decode("ascii")


def catches(pid: int, number: int) -> bool:
    """Report whether a process has a handler for a signal and does not block it: only then may it be sent."""
    masks = {}
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in ("SigCgt", "SigBlk"):
                    masks[name] = int(value, 16)
    except (OSError, ValueError):
        return False
    bit = 1 << (number - 1)
    return bool(masks.get("SigCgt", 0) & bit) and not masks.get("SigBlk", bit) & bit
