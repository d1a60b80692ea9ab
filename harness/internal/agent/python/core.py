"""Write a core of a process, with the files that a debugger needs to read it, as a compressed tar stream to stdout.

    core.py PID

In the stream are `core`, every file that the process has mapped below `root/`, and `open.sh`, which starts gdb with all
of it.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

OPEN = """#!/bin/sh
# Open the core in gdb, with the files of the container that it is from.
cd "$(dirname "$0")" && exec gdb -iex "set sysroot $PWD/root" -iex "set auto-load safe-path /" "root{program}" core
"""
LIMIT = 4 << 30
"""Bytes of a core that are written at most."""


def mapped(pid: int) -> list[str]:
    """Return the files that a process has mapped, each once, the program first."""
    with open(f"/proc/{pid}/maps") as maps:
        names = re.findall(r" (/\S.*)$", maps.read(), re.M)
    files = dict.fromkeys([os.readlink(f"/proc/{pid}/exe"), *names])
    return [name for name in files if os.path.isfile(name) and not name.startswith(("/dev/", "/memfd:"))]


def dump(pid: int, folder: str) -> str:
    """Have gdb write the core, and return its path."""
    path = os.path.join(folder, "core")
    done = subprocess.run(
        ["gdb", "--nx", "--batch", "-p", str(pid), "-ex", f"generate-core-file {path}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if not os.path.exists(path):
        raise SystemExit(f"gdb wrote no core of process {pid}: {done.stdout.strip()[-500:]}")
    size = os.path.getsize(path)
    if size > LIMIT:
        raise SystemExit(f"the core of process {pid} has {size >> 20} MiB, and at most {LIMIT >> 20} are kept")
    return path


def add(archive: tarfile.TarFile, path: str, name: str) -> None:
    """Add a file without what says whose it is."""
    entry = archive.gettarinfo(os.path.realpath(path), name)
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    with open(path, "rb") as content:
        archive.addfile(entry, content)


def main() -> None:
    pid = int(sys.argv[1])
    if shutil.which("gdb") is None:
        raise SystemExit("the base image has no gdb, which writes cores")
    files = mapped(pid)
    with tempfile.TemporaryDirectory() as folder:
        core = dump(pid, folder)
        with (
            gzip.open(sys.stdout.buffer, "wb", compresslevel=3) as stream,
            tarfile.open(fileobj=stream, mode="w|") as archive,
        ):
            script = OPEN.format(program=files[0]).encode()
            entry = tarfile.TarInfo("open.sh")
            entry.size, entry.mode = len(script), stat.S_IRWXU
            archive.addfile(entry, io.BytesIO(script))
            add(archive, core, "core")
            for file in files:
                add(archive, file, "root" + file)


if __name__ == "__main__":
    main()
