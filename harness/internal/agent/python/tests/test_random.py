"""Whatever comes in, only the documented answers come out. The seed is fixed; PYO3TEST_SEED sets another."""

from __future__ import annotations

import binascii
import json
import marshal
import os
import random
import sys
from typing import Any

import pytest
from conftest import AGENT, MESSAGES, Suite

sys.path.insert(0, str(AGENT.parent / "site"))
sys.path.insert(0, str(AGENT.parent))

import protocol
import relay
from pyo3test_plugin.lines import MAX_LINE, encode

EXAMPLES = [json.loads(line) for line in MESSAGES.read_text().splitlines()]

SEED = int(os.environ.get("PYO3TEST_SEED", "1"))
ROUNDS = int(os.environ.get("PYO3TEST_ROUNDS", "3000"))
TEXTS = (
    "",
    "a",
    "\n",
    "\0",
    "\x1b[1m",
    "é",
    "\u2028",
    "\ud800",
    "\U0001f980",
    "x" * 999,
    '"',
    "NaN",
    "ev",
    "t",
    "phase",
)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Return a separate source for each test."""
    return random.Random(f"{SEED} {request.node.name}")


def value(chance: random.Random, depth: int = 0) -> Any:
    """Return anything that JSON can hold, and a little more."""
    kind = chance.randrange(9 if depth < 4 else 6)
    if kind == 0:
        return chance.choice((None, True, False))
    if kind == 1:
        return chance.choice((0, 1, -1, 2**31, 2**63, 10**400, chance.randrange(-9, 9)))
    if kind == 2:
        return chance.choice((0.0, -0.5, 1e308, 1e-320))
    if kind in (3, 4, 5):
        return "".join(chance.choice(TEXTS) for _ in range(chance.randrange(4)))
    if kind == 6:
        return [value(chance, depth + 1) for _ in range(chance.randrange(5))]
    return {str(value(chance, 4)): value(chance, depth + 1) for _ in range(chance.randrange(5))}


def spoil(chance: random.Random, data: bytes) -> bytes:
    """Return the bytes with a few of them changed, duplicated or removed."""
    spoilt = bytearray(data)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(spoilt) + 1)
        length = chance.choice((0, 1, 2, 40))
        spoilt[at : at + length] = chance.choice(
            (b"", b"\xff", b"\n", b"\0", b"}", b"1e9", bytes(spoilt[at : at + 40]), chance.randbytes(3))
        )
    return bytes(spoilt)


def test_relay(chance: random.Random) -> None:
    """Each line is passed on as an event of the protocol, or not at all."""
    for _ in range(ROUNDS):
        fields = dict(chance.choice(EXAMPLES))
        for _ in range(chance.randrange(3)):
            fields[chance.choice([*fields, "index", "x"])] = value(chance)
        line = spoil(chance, json.dumps(fields).encode()).replace(b"\n", b"")
        event = relay.check(line)
        if event is not None:
            assert event["ev"] in protocol.PLUGIN and "t" not in event and line.isascii()
            told = json.loads(line.rstrip()[:-1] + b',"t":1.5}')  # as the agent does it
            assert told == {**event, "t": 1.5}
            assert not protocol.wrong_event(told)


def test_splitter(chance: random.Random) -> None:
    for _ in range(ROUNDS // 10):
        data = b"\n".join(chance.randbytes(chance.randrange(50)).replace(b"\n", b"") for _ in range(20))
        splitter, lines, rest = relay.Splitter(), [], data
        while rest:
            cut = chance.randrange(1, 60)
            lines += splitter.feed(rest[:cut])
            rest = rest[cut:]
        assert [*lines, splitter.rest()] == [line for line in data.split(b"\n")[:-1] if line] + [data.split(b"\n")[-1]]


def test_splitter_is_bounded() -> None:
    splitter = relay.Splitter()
    for _ in range(40):
        assert splitter.feed(b"x" * (1 << 17)) == []
    (line,) = splitter.feed(b"\n")
    assert len(line) == MAX_LINE and relay.check(line) is None


def test_encode(chance: random.Random) -> None:
    """Every record becomes one line of bounded length, which reads as the record if that fits."""
    for number in range(ROUNDS):
        record = {"ev": "report", **{str(value(chance, 4)): value(chance) for _ in range(4)}}
        if number % 100 == 0:
            record[chance.choice(("longrepr", "nodeid", "sections"))] = chance.choice(
                ("é" * chance.randrange(3 << 20), [["a" * 99, "\0" * 9999]] * chance.randrange(2000))
            )
        line = encode(record)
        assert len(line) <= MAX_LINE and line.endswith(b"\n") and line.count(b"\n") == 1 and line.isascii()
        told = json.loads(line)
        assert told["ev"] == "error" or told.keys() == record.keys()
        assert len(json.dumps(record)) > MAX_LINE - 9 or told == json.loads(json.dumps(record))


def test_wire(chance: random.Random) -> None:
    """A child's stream yields what was put in, or raises Garbage; never anything else, and nothing damaged."""
    from pyo3test_plugin import wire

    for _ in range(ROUNDS):
        messages = [("report", wire.plain(value(chance))) for _ in range(3)]
        whole = b"".join(wire.frame(message) for message in messages)
        data, reader, got = spoil(chance, whole), wire.Reader(), []
        try:
            while data:
                cut = chance.randrange(1, 200)
                got += reader.feed(data[:cut])
                data = data[cut:]
        except (wire.Garbage, ValueError, TypeError, EOFError):  # what Running.read catches too
            pass
        assert all(message in messages for message in got)
    with pytest.raises(wire.Garbage):
        payload = marshal.dumps("no tuple")
        wire.Reader().feed(wire.HEADER.pack(wire.MARK, len(payload), binascii.crc32(payload)) + payload)


def test_commands(suite: Suite, chance: random.Random) -> None:
    """An agent that gets nonsense answers with errors, runs the requested tests, and ends properly."""
    talk = suite.write(test_a="def test_1(): pass\n").talk()
    assert talk.process.stdin is not None

    def nonsense(count: int) -> bytes:
        lines = []
        for _ in range(count):
            command = {"cmd": chance.choice(("run", "dump", "kill", "fly", 1, None, [])), **value_fields(chance)}
            lines.append(spoil(chance, json.dumps(command).encode()).replace(b'"stop"', b"").replace(b'"start"', b""))
        return b"\n".join(lines) + b"\n"

    talk.process.stdin.write(nonsense(100))  # the answers fit into a pipe that is not read yet
    talk.start()

    def answer(event: dict[str, Any]) -> None:
        if event["ev"] == "collected":
            talk.say(cmd="run", order=[0])

    run = talk.listen(answer)
    assert run.status == 0 and run.stderr == "" and len(run.of("error")) > 30
    assert run.verdicts() == {"test_a.py::test_1": "passed"} and run.one("exit")["exit"] == 0


def value_fields(chance: random.Random) -> dict[str, Any]:
    """Return fields of commands with any values, but never with the pid of a real process."""
    fields = {name: value(chance) for name in ("order", "pid", "id", "reason", "message") if chance.random() < 0.7}
    return {**fields, "pid": -abs(fields["pid"])} if type(fields.get("pid")) is int else fields
