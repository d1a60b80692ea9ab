"""Print where the edges of an instrumented module are, as JSON lines: an offset, and its functions with their places.

    edges.py MODULE

Each line is ``[offset, [[function, file, line], ...]]``, the innermost function first: others are those that it was
inlined into. The offsets are those at which the hooks of pressure.c know the edges, from the table __sancov_pcs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

TABLE = "__sancov_pcs"
ENTRY = 16
"""Bytes of an entry of the table: the edge's address, and what kind it is."""
UNKNOWN = "??"


def run(*argv: str, words: str = "") -> str:
    """Return what a program prints. Warnings, as of debug information that it does not know, do not matter."""
    done = subprocess.run(argv, input=words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{argv[0]} ended with status {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def addresses(module: str) -> list[int]:
    """Return the addresses in the table. Until it is loaded they are the addends of its relocations."""
    section = re.search(rf"\s{TABLE}\s+\S+\s+([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)", run("readelf", "-SW", module))
    if section is None:
        return []
    start, size = (int(text, 16) for text in section.groups())
    found = []
    for where, addend in re.findall(r"^([0-9a-f]+)\s.*_RELATIV\w*\s+([0-9a-f]+)$", run("readelf", "-rW", module), re.M):
        at = int(where, 16) - start
        if 0 <= at < size and at % ENTRY == 0:
            found.append(int(addend, 16))
    return sorted(found)


def places(module: str, offsets: list[int]) -> dict[int, list[list[object]]]:
    """Return the functions of each address."""
    found: dict[int, list[list[object]]] = {}
    current: list[list[object]] = []
    lines = iter(run("addr2line", "-afi", "-e", module, words="\n".join(map(hex, offsets))).splitlines())
    for line in lines:
        if line.startswith("0x"):
            current = found.setdefault(int(line, 16), [])
            continue
        file, _, number = next(lines).partition(" (")[0].rpartition(":")
        if line != UNKNOWN:
            current.append([line, file, int(number) if number.isdigit() else 0])
    return found


def main() -> None:
    module = sys.argv[1]
    for offset, functions in places(module, addresses(module)).items():
        print(json.dumps([offset, functions]))


if __name__ == "__main__":
    main()
