"""Write a core of a process, with the files that a debugger needs to read it, as a compressed tar stream to stdout.

    core.py PID

In the stream are `core`, `program`, and below `root/` every file that the process has mapped, for gdb's "set sysroot".
"""

from __future__ import annotations

import gzip
import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile

LIMIT = 4 << 30
"""Bytes of a core that are written at most, and of the files beside it."""


def mapped(pid: int) -> list[str]:
    """Return the files that a process has mapped, each once, the program first."""
    with open(f"/proc/{pid}/maps") as maps:
        names = re.findall(r" (/\S.*)$", maps.read(), re.M)
    files = dict.fromkeys([os.readlink(f"/proc/{pid}/exe"), *names])
    return [name for name in files if os.path.isfile(name) and not name.startswith(("/dev/", "/memfd:"))]


def dump(pid: int, folder: str) -> str:
    """Have gdb write the core, and return its path."""
    path = os.path.join(folder, "core")
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))  # gdb inherits it
    done = subprocess.run(
        ["gdb", "--nx", "--batch", "-p", str(pid), "-ex", f"generate-core-file {path}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if "Saved corefile" not in done.stdout:
        said = done.stdout.strip()[-500:]
        raise SystemExit(f"gdb wrote no core of process {pid}, which may have {LIMIT >> 30} GiB: {said}")
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
            add(archive, core, "core")
            add(archive, files[0], "program")
            left = LIMIT
            for file in files:
                left -= os.path.getsize(file)
                if left > 0 and os.access(file, os.R_OK):
                    add(archive, file, "root" + file)


if __name__ == "__main__":
    main()
