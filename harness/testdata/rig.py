"""Writes into pytest's stream of events, as a test does that writes to a descriptor that it did not open."""

import json
import os
import stat

PYTEST = os.getpid()
REPORT = {
    "index": 0,
    "when": "call",
    "longrepr": "",
    "duration": 0,
    "message": "",
    "path": "",
    "line": 0,
    "wasxfail": None,
    "sections": [],
    "properties": [],
    "subtest": None,
}


def descriptor() -> int:
    """Return the descriptor of pytest's process through which the plugin reports."""
    for name in sorted(os.listdir(f"/proc/{PYTEST}/fd"), key=int):
        path = f"/proc/{PYTEST}/fd/{name}"
        if int(name) > 100 and os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode):
            with open(f"/proc/{PYTEST}/fdinfo/{name}") as file:
                if int(file.read().split()[3], 8) & os.O_WRONLY:
                    return int(name)
    raise RuntimeError("pytest has no stream of events")


def write(data: bytes) -> None:
    """Write bytes into the stream."""
    os.write(os.open(f"/proc/{PYTEST}/fd/{descriptor()}", os.O_WRONLY), data)


def send(ev: str, **fields: object) -> None:
    """Send an event as the plugin does."""
    write(json.dumps({"ev": ev, **fields}).encode() + b"\n")
