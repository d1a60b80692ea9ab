"""Files that tests and plugins write for people, such as reports of coverage, and that leave the container."""

from __future__ import annotations

import glob
import os
import shutil

FOLDER = "outputs"
"""Where they are kept, below the out folder."""
LIMIT = 512 << 20
"""Bytes of all of them."""
UNPACKED = 1_500_000_000
"""Seconds since 1970: what was unpacked has an older time, what was written since a newer one."""


class TooLarge(Exception):
    """They have more bytes than the limit."""


def keep(patterns: list[str], folder: str, out: str) -> None:
    """Copy what matches the patterns, which are relative to a folder, and was written since that was unpacked."""
    total = 0
    for path in written(patterns, folder):
        total += os.path.getsize(path)
        if total > LIMIT:
            raise TooLarge(f"{os.path.relpath(path, folder)} is beyond {LIMIT >> 20} MiB of outputs")
        target = os.path.join(out, FOLDER, os.path.relpath(path, folder))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(path, target)


def written(patterns: list[str], folder: str) -> list[str]:
    """Return the files that match, or that are in a folder that does, but none that a link leads to elsewhere."""
    found = set()
    real = os.path.join(os.path.realpath(folder), "")
    for pattern in patterns:
        for name in glob.glob(pattern, root_dir=folder, recursive=True, include_hidden=True):
            top = os.path.normpath(os.path.join(folder, name))
            inside = [os.path.join(at, each) for at, _, files in os.walk(top) for each in files] or [top]
            found |= {path for path in inside if os.path.realpath(path).startswith(real) and fresh(path)}
    return sorted(found)


def fresh(path: str) -> bool:
    """Report whether a path is a file that was written since the sources were unpacked."""
    return os.path.isfile(path) and not os.path.islink(path) and os.path.getmtime(path) > UNPACKED
