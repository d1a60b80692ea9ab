"""Output that is too long for a log: head and tail are reported, and all of it goes to a file among the evidence."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from .kept import binascii, io, os
from .lines import clip

SECTION_LIMIT = 64 << 10
"""Characters of one captured section in a report; a test may print 50 MB, and pytest keeps reports until it ends."""
NOTE_ROOM = 400
"""Characters of these that the note may take: text that was clipped once stays as it is."""
FOLDER_LIMIT = 1 << 30
"""Bytes of all that a group may leave; a loop that prints must not fill the host's disk."""


class LongOutput:
    """Keeps long output in the folder that a group leaves behind."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def clip(self, nodeid: str, section: str, text: str) -> str:
        """Return the text, or its head and tail and the name of the file that has all of it."""
        if len(text) <= SECTION_LIMIT:
            return text
        name = _name(nodeid, section)
        data = text.encode("utf-8", "surrogatepass")
        return clip(text, SECTION_LIMIT - NOTE_ROOM, name if self._keep(name, [data], len(data)) else "")

    def read(self, nodeid: str, section: str, fd: int) -> str:
        """Do the same for what a test has written to a file without a name."""
        try:
            size = os.fstat(fd).st_size
            if size <= SECTION_LIMIT:
                return os.pread(fd, size, 0).decode("utf-8", "replace")
            name = _name(nodeid, section)
            pieces = (os.pread(fd, 1 << 20, at) for at in range(0, size, 1 << 20))
            where = f", all is in {name}" if self._keep(name, pieces, size) else ""
            half = (SECTION_LIMIT - NOTE_ROOM) // 2
            head = os.pread(fd, half, 0).decode("utf-8", "replace")
            tail = os.pread(fd, half, size - half).decode("utf-8", "replace")
        except OSError:
            return ""
        return f"{head}\n[... {size - 2 * half} bytes left out{where} ...]\n{tail}"

    def _keep(self, name: str, pieces: Iterable[bytes], size: int) -> bool:
        path = os.path.join(self.folder, name)
        try:
            with os.scandir(self.folder) as entries:
                sizes = {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}
            if sizes.get(name) == size:  # a phase's section is also in the reports of all later phases
                return True
            if sum(sizes.values()) + size > FOLDER_LIMIT:
                return False
            with io.open(path, "wb") as file:
                for piece in pieces:
                    file.write(piece)
        except OSError:
            return False
        return True


def _name(nodeid: str, section: str) -> str:
    test = re.sub(r"[^\w.-]+", "_", nodeid, flags=re.ASCII)[-80:]
    kind = re.sub(r"[^\w.-]+", "-", section.removeprefix("Captured "), flags=re.ASCII)[:40]
    return f"output-{test}-{binascii.crc32(nodeid.encode('utf-8', 'surrogatepass')):08x}-{kind}.txt"


KEY = pytest.StashKey[LongOutput]()
