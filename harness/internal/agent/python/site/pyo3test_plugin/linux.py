"""The few Linux features that Python's standard library does not offer."""

from __future__ import annotations

import errno
import fcntl
import resource
import tempfile
from typing import Any

from .kept import os, signal

PR_SET_CHILD_SUBREAPER = 36
PR_SET_PTRACER = 0x59616D61
ANY = -1
HIGH = 900


def _load() -> Any:
    try:
        import ctypes

        call = ctypes.CDLL(None).prctl
        call.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
        return call
    except (
        ImportError,
        OSError,
        AttributeError,
    ):  # a Python built without it: this affects stacks and leftovers, but not tests
        return None


_prctl = _load()


def prctl(option: int, value: int) -> bool:
    """Call prctl and report whether the kernel accepted it."""
    return _prctl is not None and _prctl(option, value & (2**64 - 1), 0, 0, 0) == 0


def allow_tracing() -> None:
    """Let any process of our user read our stacks; where Yama is not in force there is nothing to allow."""
    prctl(PR_SET_PTRACER, ANY)


def adopt_orphans() -> bool:
    """Become the parent of our descendants' orphans, so that their whole tree can be found."""
    return prctl(PR_SET_CHILD_SUBREAPER, 1)


def move_high(fd: int, inheritable: bool = False) -> int:
    """Move a descriptor out of the way of tests that close or reuse low ones; the old one is closed."""
    command = fcntl.F_DUPFD if inheritable else fcntl.F_DUPFD_CLOEXEC
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    for base in (HIGH, 200, 64):
        if limit not in (resource.RLIM_INFINITY, -1) and base + 20 >= limit:
            continue
        try:
            moved = fcntl.fcntl(fd, command, base)
        except OSError:
            continue
        os.close(fd)
        return moved
    return fd


def scratch_file(folder: str | None = None) -> int:
    """Return a descriptor of an empty file without a name."""
    folder = folder or tempfile.gettempdir()
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        return os.open(folder, flags | os.O_TMPFILE, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise
    fd, name = tempfile.mkstemp(prefix="pyo3test-", dir=folder)
    os.unlink(name)
    return fd


def memory_file() -> int:
    """Return a descriptor of an empty file that is on no file system, or a scratch file if the kernel has no memfd."""
    try:
        return os.memfd_create("pyo3test", os.MFD_CLOEXEC)
    except (AttributeError, OSError):
        return scratch_file()


def thread_count() -> int:
    """Return the number of threads of this process, native ones included."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


def signal_name(number: int) -> str:
    """Return the name and number of a signal, such as "SIGSEGV (11)"."""
    try:
        return f"{signal.Signals(number).name} ({number})"
    except ValueError:
        return f"signal {number}"
