"""What /proc shows of a process to a reader: threads, files, sockets, children, memory."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import Counter

import gil
import procs
import waits

MOST = 256
"""The number of threads, of files and of children that are listed at most."""
STACK = 16 << 10
"""Bytes of a stack, from its top, that are searched for return addresses."""
DULL = ("libc.so", "libc-", "libpthread", "ld-linux", "ld-musl", "libgcc_s", "libm.so", "python", "libpython")
"""Libraries that every thread has on its stack: they do not show which library a thread belongs to."""
ADDRESS = (1 << 48) - 1
"""The bits of a return address on the stack: on aarch64 the others may be a signature, of pointer authentication."""
STATES = {1: "established", 2: "connecting", 6: "time-wait", 7: "closed", 8: "close-wait", 10: "listening"}
"""The states of a TCP socket, from include/net/tcp_states.h of Linux."""


def pace(pid: int) -> dict[str, float]:
    """Return what a process has done: processor seconds, with those of living descendants, and its threads' switches.

    Besides, the seconds for which its threads were ready to run and had no processor: proc(5) has schedstat. The kernel
    adds them when a thread gets a processor, so the number of threads that are ready now is there too.

    If there are too many processes to check each, descendants are left out.
    """
    now = time.monotonic()
    below = [] if procs.crowd() else [each.pid for each in procs.below(pid, procs.everything())]
    cpu = sum(procs.cpu_seconds(each) for each in [pid, *below])
    switches, queued, ready = 0, 0, 0
    for thread in procs.threads(pid):
        times = _text(f"/proc/{pid}/task/{thread}/schedstat").split()  # in nanoseconds; a kernel may not count them
        queued += int(times[1]) if len(times) > 1 else 0
        fields = _fields(f"/proc/{pid}/task/{thread}/status")
        ready += fields.get("State", "").startswith("R")
        switches += sum(int(fields.get(f"{kind}_ctxt_switches", 0)) for kind in ("voluntary", "nonvoluntary"))
    return {"at": now, "cpu": cpu, "switches": switches, "queued": queued / 1e9, "ready": ready}


def of(pid: int) -> str:
    """Return all facts, one per line."""
    status = _fields(f"/proc/{pid}/status")
    if not status:
        return f"no facts: process {pid} is gone"
    lines = [
        f"process {pid} {status.get('Name', '')!r}: {procs.command(pid)}",
        f"processor time {procs.cpu_seconds(pid):.2f} s",
        f"memory {status.get('VmRSS', '?')}, at most {status.get('VmHWM', '?')}",
    ]
    lines += [_thread(pid, thread) for thread in sorted(procs.threads(pid))[:MOST]]
    lines += _files(pid)
    for child in procs.below(pid, procs.everything())[:MOST]:
        lines.append(f"descendant {child.pid} of {child.parent}: state {child.state}, {procs.command(child.pid)}")
    return "\n".join(lines)


def parents_threads(pid: int) -> list[str]:
    """Return the threads of a process's parent other than its main one, with the libraries on their stacks.

    A fork copies none of them. What they did at that time is not known any more; where they are now is.
    """
    process = procs.look(pid)
    if process is None or process.parent in (0, 1, os.getpid()):
        return []
    parent = process.parent
    try:
        space = gil.mappings(parent)
    except OSError:
        space = []
    alike: Counter[str] = Counter()
    for thread in sorted(procs.threads(parent))[:MOST]:
        if thread == parent:
            continue
        found = _libraries(parent, thread, space)
        name = _text(f"/proc/{parent}/task/{thread}/comm").strip()
        alike[repr(name) + (f" of {', '.join(found)}" if found else "")] += 1
    return [f"{count} thread{'s' if count > 1 else ''} {words}" for words, count in alike.items()]


def _libraries(pid: int, thread: int, space: list[gil.Mapping]) -> list[str]:
    """Return the libraries to which a blocked thread will return, the innermost first."""
    call = waits.call(pid, thread)
    if call is None:
        return []
    stack = gil.mapping_of(call.pointer, space)
    size = min(STACK, stack.end - call.pointer) if stack is not None else 0
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            data = os.pread(memory.fileno(), size, call.pointer)
    except (OSError, ValueError, OverflowError):
        return []
    code = [each for each in space if "x" in each.flags and each.path.startswith("/")]
    found: list[str] = []
    for (word,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8]):
        place = gil.mapping_of(word & ADDRESS, code)
        if place is not None and place.name not in found and not place.name.startswith(DULL):
            found.append(place.name)
    return found


def _thread(pid: int, thread: int) -> str:
    """Return one thread: its state, what it waits for, and how often it ran."""
    folder = f"/proc/{pid}/task/{thread}"
    fields = _fields(f"{folder}/status")
    switches = f"{fields.get('voluntary_ctxt_switches', '?')}+{fields.get('nonvoluntary_ctxt_switches', '?')}"
    parts = [f"{name} {_text(f'{folder}/{name}').strip()}" for name in ("wchan", "syscall")]
    state = procs.state(pid, thread) or "?"
    return f"thread {thread} {fields.get('Name', '?')!r}: state {state}, switches {switches}, {', '.join(parts)}"


def _files(pid: int) -> list[str]:
    """Return the open files, and what the sockets are connected to."""
    folder = f"/proc/{pid}/fd"
    try:
        numbers = sorted(map(int, os.listdir(folder)))
    except OSError as error:
        return [f"files: {error.strerror}"]
    sockets = _sockets(pid)
    lines = []
    for number in numbers[:MOST]:
        try:
            target = os.readlink(f"{folder}/{number}")
        except OSError:
            continue
        if target.startswith("socket:["):
            target = sockets.get(target[len("socket:[") : -1], target)
        lines.append(f"file {number}: {target}")
    if len(numbers) > MOST:
        lines.append(f"and {len(numbers) - MOST} more files")
    return lines


def _sockets(pid: int) -> dict[str, str]:
    """Return descriptions of the sockets in a process's network, by inode."""
    found = {}
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in _text(f"/proc/{pid}/net/{kind}").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9:
                state = STATES.get(int(fields[3], 16), "") if kind.startswith("tcp") else ""
                found[fields[9]] = f"{kind} {_address(fields[1])} to {_address(fields[2])} {state}".rstrip()
    for line in _text(f"/proc/{pid}/net/unix").splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) > 6:
            found[fields[6]] = f"unix socket {fields[7] if len(fields) > 7 else 'without a name'}"
    return found


def _address(text: str) -> str:
    """Return an address of /proc/net, whose bytes are in the machine's order in groups of four."""
    host, _, port = text.partition(":")
    data = bytes.fromhex(host)
    data = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    family = socket.AF_INET if len(data) == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, data)}:{int(port, 16)}"


def _fields(path: str) -> dict[str, str]:
    """Return the fields of a file of lines `name:<tab>value`; none if it cannot be read."""
    return dict(line.split(":\t", 1) for line in _text(path).splitlines() if ":\t" in line)


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError:
        return ""
