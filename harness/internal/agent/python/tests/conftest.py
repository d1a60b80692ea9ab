"""Runs the real agent against small suites that are written into a temporary folder.

The suites run with the Python that runs these tests, which has the newest pytest, and with the last one of
PYO3TEST_PYTHONS, a list of paths separated by colons, which is to have the oldest. Those that are marked `each_python`
run with each. PYO3TEST_PLUGGED names one that has popular plugins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import selectors
import subprocess
import sys
import textwrap
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, Callable

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import protocol

AGENT = Path(__file__).resolve().parent.parent / "agent.py"
MESSAGES = Path(__file__).with_name("messages.jsonl")
"""An example of each message of the protocol, which Go's tests read too."""
LIMIT = 60.0
"""Seconds after which a run is given up: an agent that hangs is a failure."""

PYTHONS = [sys.executable, *filter(None, os.environ.get("PYO3TEST_PYTHONS", "").split(":"))]


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks of files."""
    config.addinivalue_line("markers", "slow: takes tens of seconds, and `make check` leaves it out")
    config.addinivalue_line("markers", "each_python: about plugins that only some have: with all, not just two")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that has a suite with several versions of pytest."""
    if "suite" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker("each_python")
        pythons = PYTHONS if marked else list(dict.fromkeys([PYTHONS[0], PYTHONS[-1]]))
        metafunc.parametrize("suite", pythons, indirect=True, ids=lambda path: Path(path).parent.parent.name)


@dataclasses.dataclass
class Run:
    """What an agent reported, and what it left."""

    events: list[dict[str, Any]]
    out: Path
    status: int
    stderr: str

    def of(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the events of a kind with these fields."""
        return [e for e in self.events if e["ev"] == kind and all(e.get(k) == v for k, v in fields.items())]

    def one(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Return the only such event."""
        found = self.of(kind, **fields)
        assert len(found) == 1, (kind, fields, found, self.log)
        return found[0]

    @property
    def log(self) -> str:
        """Return pytest's terminal output."""
        return (self.out / "pytest.log").read_text(errors="replace")

    def index(self, name: str) -> int:
        """Return the index of the test whose node id ends with the name."""
        found: list[int] = [e["index"] for e in self.of("item") if e["nodeid"].endswith(name)]
        assert len(found) == 1, (name, found, self.log)
        return found[0]

    def reports(self, name: str) -> list[tuple[str, str]]:
        """Return the phase and outcome of each report of a test."""
        return [(e["when"], e["outcome"]) for e in self.of("report", index=self.index(name))]

    def report(self, name: str, when: str = "call") -> dict[str, Any]:
        """Return one report of a test."""
        return self.one("report", index=self.index(name), when=when)

    def finish(self, name: str) -> dict[str, Any]:
        """Return how a test's process ended."""
        return self.one("finish", index=self.index(name))

    def verdicts(self) -> dict[str, str]:
        """Return one word per test, as pytest would count it."""
        return {e["nodeid"]: self._verdict(e["index"]) for e in self.of("item")}

    def _verdict(self, index: int) -> str:
        reports = [e for e in self.of("report", index=index) if e["subtest"] is None]
        words = set()
        for report in reports:
            if report["wasxfail"] is not None:
                words.add("xfailed" if report["outcome"] == "skipped" else "xpassed")
            elif report["outcome"] == "failed":
                words.add("failed" if report["when"] == "call" else "error")
            elif report["outcome"] == "skipped":
                words.add("skipped")
        return "+".join(sorted(words)) or ("passed" if reports else "not run")

    def junit(self) -> dict[tuple[str, str], list[str]]:
        """Return the testcases of the JUnit file, with the names of their children."""
        cases: dict[tuple[str, str], list[str]] = {}
        for case in ElementTree.parse(self.out / "junit.xml").iter("testcase"):
            marks = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
            cases.setdefault((case.get("classname", ""), case.get("name", "")), []).append(",".join(marks) or "passed")
        return cases


class Talk:
    """A conversation with one agent."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        self.python = python
        self.out = folder.parent / "out"
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(AGENT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.events: list[dict[str, Any]] = []

    def say(self, **command: Any) -> None:
        """Send one command. The agent may have ended: with --collect-only, pytest waits for none."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()

    def start(self, **fields: Any) -> None:
        """Send the start command, with defaults for what is not given."""
        env = {"PATH": f"{Path(self.python).parent}:{os.environ['PATH']}", "HOME": "/tmp", "LANG": "C.UTF-8"}
        env.update(fields.pop("env", {}))
        command = {
            "cmd": "start",
            "python": self.python,
            "cwd": str(self.folder),
            "env": env,
            "args": [],
            "isolation": "forked",
            "workers": 1,
            "out": str(self.out),
            "imports": [],
        }
        self.say(**{**command, **fields})

    def listen(self, answer: Callable[[dict[str, Any]], None]) -> Run:
        """Pass the agent's events to `answer` until it ends."""
        assert self.process.stdout is not None and self.process.stderr is not None
        end = time.monotonic() + LIMIT
        watch = selectors.DefaultSelector()
        watch.register(self.process.stdout, selectors.EVENT_READ)
        pending = b""
        while True:
            if not watch.select(max(0.0, end - time.monotonic())):
                self.process.kill()
                raise AssertionError(f"the agent did not end; it said {self.events[-20:]}")
            data = os.read(self.process.stdout.fileno(), 1 << 20)
            if not data:
                break
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                assert len(line) < 1 << 20 and line.isascii()
                event = json.loads(line)
                assert not protocol.wrong_event(event), (protocol.wrong_event(event), event)
                self.events.append(event)
                answer(event)
        stderr = self.process.stderr.read().decode()
        status = self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # a command that was not read
                    stream.close()
        return Run(self.events, self.out, status, stderr)


class Suite:
    """A suite in its own folder."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        self.python = python
        folder.mkdir()

    def write(self, **files: str) -> Suite:
        """Write files; `test_a` stands for test_a.py, other names give their extension after two underscores."""
        for name, text in files.items():
            stem, _, ending = name.partition("__")
            path = self.folder / f"{stem}.{ending or 'py'}"
            path.write_text(textwrap.dedent(text))
        return self

    def talk(self) -> Talk:
        """Return an agent for this suite that is not started yet."""
        return Talk(self.folder, self.python)

    def run(
        self,
        *args: str,
        order: Callable[[list[str]], list[int]] | None = None,
        on: Callable[[Talk, dict[str, Any]], None] | None = None,
        **fields: Any,
    ) -> Run:
        """Run the suite to its end: all tests, unless an order is chosen; `on` receives each event."""
        talk = self.talk()
        talk.start(args=list(args), **fields)

        def answer(event: dict[str, Any]) -> None:
            if event["ev"] == "collected":
                names = [e["nodeid"] for e in talk.events if e["ev"] == "item"]
                talk.say(cmd="run", order=order(names) if order else list(range(len(names))))
            if on is not None:
                on(talk, event)

        run = talk.listen(answer)
        assert run.status == 0 and run.stderr == "", run.stderr
        assert run.events[0]["ev"] == "ready" and run.events[-1]["ev"] == "done"
        return run


def built(path: Path, name: str = "") -> dict[str, str]:
    """Return a module as the Go side names it: where it was built, and the hash of its content."""
    data = path.read_bytes() if path.exists() else b""
    return {"name": name or path.stem, "file": str(path), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.fixture
def suite(tmp_path: Path, request: pytest.FixtureRequest) -> Suite:
    """Return an empty suite."""
    return Suite(tmp_path / "suite", request.param)


@pytest.fixture
def plugged(tmp_path: Path) -> Suite:
    """Return an empty suite for a Python with many plugins."""
    return Suite(tmp_path / "suite", os.environ.get("PYO3TEST_PLUGGED", sys.executable))


def hang_killer(name: str, reason: str = "hung", dump: bool = False) -> Callable[[Talk, dict[str, Any]], None]:
    """Do what the Go side does with a test that is over its time: kill it when it is certainly in its call."""

    def on(talk: Talk, event: dict[str, Any]) -> None:
        if event["ev"] == "start":
            item = next(e for e in talk.events if e["ev"] == "item" and e["index"] == event["index"])
            if item["nodeid"].endswith(name):
                time.sleep(0.6)
                if dump:
                    talk.say(cmd="dump", pid=event["pid"], id="d1")
                else:
                    talk.say(cmd="kill", pid=event["pid"], reason=reason, message="hung: no end after 0.3 s")
        if event["ev"] == "dump":
            talk.say(cmd="kill", pid=event["pid"], reason=reason, message="hung: no end after 0.3 s")

    return on


def alive(marker: str) -> list[int]:
    """Return the processes whose command line has the marker."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in text:
                found.append(int(name))
    return found
