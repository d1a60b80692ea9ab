"""Prints the stacks of all that pytest runs in this container, one dump event per line, and disturbs nothing."""

from __future__ import annotations

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "site"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import procs
import running
from dumps import Dump
from pyo3test_plugin.lines import encode

LAUNCHED = "/launch.py run "
TEMPLATE = "pyo3test_plugin.template"
"""LAUNCHED is in the command lines of pytest and its forked children, TEMPLATE in the template's and its children's."""


def main() -> None:
    """Dump one process after another: two tools cannot inspect the same process at once, only different ones."""
    table = procs.everything()
    tests = running.ask()
    for pid, process in sorted(table.items()):
        command = procs.command(pid)
        if LAUNCHED not in command and TEMPLATE not in command:
            continue
        if TEMPLATE in command and TEMPLATE not in procs.command(process.parent):
            continue  # the template itself, which waits for work
        dump = Dump(pid, procs.command(process.parent), "", 0)
        while not dump.done:
            dump.step()
            time.sleep(0.01)
        found = {"ev": "dump", "t": round(time.monotonic(), 6), **dump.result, "test": tests.get(pid, "")}
        sys.stdout.buffer.write(encode(found))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
