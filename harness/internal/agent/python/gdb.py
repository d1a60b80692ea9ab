"""gdb's view of a process: its native stacks, also of threads that Python does not know and after Python's end."""

from __future__ import annotations

import re
import shutil
from typing import Any

OPTIONS = [
    "-nx", "-q", "-batch",
    "-iex", "set auto-load off", "-iex", "set debuginfod enabled off", "-iex", "set print thread-events off",
    "-ex", "set print frame-arguments none", "-ex", "thread apply all bt",
]  # fmt: skip

WATCHED = "SIGSEGV SIGABRT SIGBUS SIGILL SIGFPE SIGSYS"
"""The signals of a crash."""
DEPTH = 100
"""Frames per stack, so that a stack that overflowed does not fill the whole output."""

THREAD = re.compile(
    r"^Thread \d+ \((?:Thread 0x[0-9a-f]+ )?\(?(?:LWP|process) (\d+)\)?"
    r'(?: "(.*?)")?(?: \(Exiting\))?\):$'
)
FRAME = re.compile(r"^#\d+ +(?:0x[0-9a-f]+ (?:\[PAC\] )?in )?(.*)$")
"""Of aarch64, gdb marks an address that was signed with pointer authentication."""
CURRENT = re.compile(r"^\[Current thread is .*(?:LWP|process) (\d+)\)?", re.MULTILINE)
PLACE = re.compile(r" at (\S+):(\d+)$| from (\S+)$")


def command(pid: int) -> list[str] | None:
    """Return the command that asks gdb for all stacks of a process, or None without gdb."""
    tool = shutil.which("gdb")
    return [tool, *OPTIONS, "-p", str(pid)] if tool else None


def runner() -> list[str]:
    """Return what to put before a command so that gdb runs it and prints all stacks at a crash; none without gdb."""
    tool = shutil.which("gdb")
    if tool is None:
        return []
    script = [
        "set disable-randomization off",  # which needs a privilege that containers do not have
        "set startup-with-shell off",
        "handle all nostop noprint pass",
        f"handle {WATCHED} stop print",
        "run",
        "thread",
        f"thread apply all bt {DEPTH}",
        "kill",
    ]
    return [tool, *OPTIONS[:-2], *(word for line in script for word in ("-ex", line)), "--args"]


def parse_crash(text: str) -> list[dict[str, Any]]:
    """Return the threads of a process that crashed under gdb, the one that got the signal first; none if none did."""
    _, found, text = text.rpartition(" received signal ")
    current = CURRENT.search(text)
    threads = parse(text) if found else []
    for thread in threads:
        thread.update(active=current is not None and thread["os_thread_id"] == int(current[1]), owns_gil=False)
    return sorted(threads, key=lambda thread: not thread["active"])


def parse(text: str) -> list[dict[str, Any]]:
    """Return the threads of a backtrace in py-spy's format; frames without a name are left out."""
    threads: list[dict[str, Any]] = []
    for line in text.splitlines():
        thread = THREAD.match(line)
        if thread:
            threads.append({"thread_name": thread[2], "os_thread_id": int(thread[1]), "frames": []})
            continue
        frame = FRAME.match(line)
        if not frame or not threads:
            continue
        rest = frame[1]
        place = PLACE.search(rest)
        if place:
            rest = rest[: place.start()]
        name = _without_last(_without_last(rest.rstrip(), "(", ")"), "<", ">")
        if name and name != "??":
            file, number = (place[1] or place[3], int(place[2] or 0)) if place else ("", 0)
            threads[-1]["frames"].append({"name": name, "filename": file, "line": number})
    return threads


def _without_last(text: str, opening: str, closing: str) -> str:
    """Return a name without the brackets at its end, of arguments or types, if it has any."""
    if not text.endswith(closing):
        return text
    depth = 0
    for at in range(len(text) - 1, 0, -1):
        depth += (text[at] == closing and text[at - 1] != "-") - (text[at] == opening)
        if depth == 0:
            return text[:at].rstrip()
    return text
