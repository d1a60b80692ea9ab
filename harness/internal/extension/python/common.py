"""What the phases of a build share: the paths in the container, and running tools and relaying their output."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCES = Path("/src")
CACHE = Path("/cache")  # a volume of this crate alone: what cargo and rustup download; only "fetch" can write to it
TARGET = Path("/build")  # a volume of this crate alone: cargo's target folder
CRATES = Path("/crates")  # a volume that is only read: a target folder with the crates that this one depends on
BUILT = Path("/opt/pyo3test/built")
VENDORED = Path("/opt/pyo3test/vendored")  # in a full bundle's image: the crates, and cargo's configuration for them
TOOLS = Path("/opt/pyo3test/tools/bin")
DELAYS = Path("/opt/pyo3test/agent/libpressure.so")  # missing if the base could not compile it
VENV = Path("/opt/venv")
SCRATCH = Path("/run/pyo3test")  # a tmpfs: settings and credentials, which no layer keeps

INSTALL = [str(TOOLS / "uv"), "pip", "install", "--quiet", "--python", str(VENV / "bin/python"), "--color", "never"]

# Cargo's progress bar: how many crates are compiled, of how many, and which are under way.
PROGRESS = re.compile(r"\s*Building \[[=> ]*\] (\d+)/(\d+)(?:: (.*))?")


class BuildError(Exception):
    """A failed phase, whose tool output has already been relayed."""


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def run(argv: list[str], cwd: Path, what: str, relay: bool = True) -> None:
    """Run a tool and relay what it prints, line by line, or just its progress."""
    say(line=what)
    with subprocess.Popen(
        argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:  # a carriage return ends a line too
            if progress := PROGRESS.match(line):
                say(line=(progress[3] or "").rstrip(), done=int(progress[1]), total=int(progress[2]))
            elif relay:
                say(line=line.rstrip()[:4000])
    if process.returncode != 0:
        raise BuildError(f"{what}: {Path(argv[0]).name} ended with status {process.returncode}")


def walk(top: Path) -> list[Path]:
    found = []
    for folder, folders, files in os.walk(top):
        found += [Path(folder, name) for name in folders + files]
    return sorted(found)


def toml(value: Any) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
