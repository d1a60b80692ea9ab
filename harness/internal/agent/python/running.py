"""Which tests run in which processes, as the agent tells a program that looks into the container from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time

import procs

ASK = signal.SIGURG
"""The signal that makes an agent write it down. An agent that does not know it yet ignores it."""
PROGRAM = " " + os.path.join(os.path.dirname(os.path.abspath(__file__)), "agent.py")
"""The end of an agent's command line."""
LIMIT = 1.0
"""Seconds to wait for the answer: an agent may be stopped."""


def path(pid: int) -> str:
    """Return the file that an agent writes."""
    return f"/tmp/.pyo3test-running-{pid}.json"


def write(tests: dict[int, str]) -> None:
    """Write the node ids by pid, in an agent."""
    part = path(os.getpid()) + ".part"
    try:
        with open(part, "w", encoding="ascii") as file:
            json.dump(tests, file)
        os.rename(part, path(os.getpid()))
    except OSError:
        pass  # a full disk: the dump then names no tests


def ask() -> dict[int, str]:
    """Return the node ids by pid, of all agents in this container."""
    tests: dict[int, str] = {}
    for pid in procs.everything():
        if procs.command(pid).rstrip().endswith(PROGRAM):
            tests.update(_ask(pid))
    return tests


def _ask(pid: int) -> dict[int, str]:
    end = time.monotonic() + LIMIT
    with contextlib.suppress(OSError):  # an answer that came too late for another dump
        os.unlink(path(pid))
    try:
        os.kill(pid, ASK)
        while not os.path.exists(path(pid)):
            if time.monotonic() > end:
                return {}
            time.sleep(0.01)
        with open(path(pid), encoding="ascii") as file:
            tests = {int(key): str(name) for key, name in json.load(file).items()}
        os.unlink(path(pid))
        return tests
    except (OSError, ValueError):
        return {}
