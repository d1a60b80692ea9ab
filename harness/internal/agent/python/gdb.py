"""gdb's view of a process: its native stacks, also of threads that Python does not know and after Python's own end."""

from __future__ import annotations

import re
import shutil
from typing import Any

OPTIONS = [
    "-nx", "-q", "-batch",
    "-iex", "set auto-load off", "-iex", "set debuginfod enabled off", "-iex", "set print thread-events off",
    "-ex", "set print frame-arguments none", "-ex", "thread apply all bt",
]  # fmt: skip

THREAD = re.compile(
    r"^Thread \d+ \((?:Thread 0x[0-9a-f]+ )?\(?(?:LWP|process) (\d+)\)?"
    r'(?: "(.*?)")?(?: \(Exiting\))?\):$'
)
FRAME = re.compile(r"^#\d+ +(?:0x[0-9a-f]+ in )?(.*)$")
PLACE = re.compile(r" at (\S+):(\d+)$| from (\S+)$")


def command(pid: int) -> list[str] | None:
    """How to ask gdb for all stacks of a process, None where there is no gdb."""
    tool = shutil.which("gdb")
    return [tool, *OPTIONS, "-p", str(pid)] if tool else None


def parse(text: str) -> list[dict[str, Any]]:
    """The threads of a backtrace, as py-spy would have them; frames without a name are left out."""
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
        name = _without_last(rest.rstrip(), "()")
        if "drop_in_place<" not in name:  # what is dropped tells
            name = _without_last(name, "<>")
        if name and name != "??":
            file, number = (place[1] or place[3], int(place[2] or 0)) if place else ("", 0)
            threads[-1]["frames"].append({"name": name, "filename": file, "line": number})
    return threads


def _without_last(text: str, brackets: str) -> str:
    """A name without its last brackets, of arguments or types, if it ends with some."""
    opening, closing = brackets
    if not text.endswith(closing):
        return text
    depth = 0
    for at in range(len(text) - 1, 0, -1):
        depth += (text[at] == closing and text[at - 1] != "-") - (text[at] == opening)
        if depth == 0:
            return text[:at].rstrip()
    return text
