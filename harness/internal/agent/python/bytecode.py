"""What Python and pytest have compiled of the sources: Go keeps it for the next container."""

from __future__ import annotations

import os
from collections.abc import Iterator

LARGEST = 512 << 10
"""Bytes; what is larger would make a line of events too long."""


def compiled(sources: str, known: set[str]) -> Iterator[tuple[str, bytes]]:
    """The name below the sources, and the content, of each compiled file that is not known."""
    for folder, folders, files in os.walk(sources):
        if os.path.basename(folder) != "__pycache__":
            continue
        folders.clear()
        for file in files:
            path = os.path.join(folder, file)
            name = os.path.relpath(path, sources)
            if not file.endswith(".pyc") or name in known:
                continue
            try:
                with open(path, "rb") as content:
                    data = content.read(LARGEST + 1)
            except OSError:  # what collects may remove it too
                continue
            if len(data) <= LARGEST:
                yield name, data
