"""What Python and pytest have compiled of the sources: Go keeps it for the next container."""

from __future__ import annotations

import os
from collections.abc import Iterator

LARGEST = 512 << 10
"""Bytes; a larger file would make an event too long for a line."""


def compiled(sources: str, known: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the path relative to the sources, and the content, of each compiled file that is not known."""
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
            except OSError:  # collection may remove files too
                continue
            if len(data) <= LARGEST:
                yield name, data
