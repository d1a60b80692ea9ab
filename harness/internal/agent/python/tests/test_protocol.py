"""The messages of the protocol, by the examples that Go's tests read too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import MESSAGES

import protocol

EXAMPLES: list[dict[str, Any]] = [json.loads(line) for line in MESSAGES.read_text().splitlines()]


def wrong(message: dict[str, Any]) -> str:
    return protocol.wrong_command(message) if "cmd" in message else protocol.wrong_event(message)


def test_every_kind_has_an_example() -> None:
    assert {each["cmd"] for each in EXAMPLES if "cmd" in each} == set(protocol.COMMANDS)
    assert {each["ev"] for each in EXAMPLES if "ev" in each} == {*protocol.AGENT, *protocol.PLUGIN}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each.get("cmd") or each.get("ev"))
def test_fields(example: dict[str, Any]) -> None:
    """An example is a message, and none with a field more, a field less or a field of another type."""
    assert wrong(example) == ""
    key = "cmd" if "cmd" in example else "ev"
    shapes = protocol.COMMANDS if key == "cmd" else {**protocol.PLUGIN, **protocol.AGENT}
    assert wrong({**example, "extra": 1}) == "unknown field 'extra'"
    assert wrong({**example, key: "fly"}) == "unknown 'fly'"
    assert wrong({name: value for name, value in example.items() if name != key})
    shape = shapes[example[key]]
    for name in set(example) - {key, "t"}:
        assert bool(wrong({each: value for each, value in example.items() if each != name})) == (name in shape.required)
        if name != "stacks":  # which are py-spy's
            assert wrong({**example, name: object()}) == f"field {name!r} has an unusable value"


def test_values() -> None:
    """Numbers and lists are bounded, as Go reads them."""
    start = {"ev": "start", "index": 0, "pid": 1, "threads": 1}
    assert not protocol.wrong_from_plugin(start)
    numbers: list[Any] = [2**31, -(2**31), 1.0, True, "1", None, [1]]
    for value in numbers:
        assert protocol.wrong_from_plugin({**start, "pid": value})
    item = next(each for each in EXAMPLES if each.get("ev") == "item")
    times: list[Any] = [float("inf"), float("nan"), 10**400, "1", [1.0]]
    for value in times:
        assert wrong({**item, "timeout": value})
    lists: list[Any] = [[1], "ab", None, {}]
    for value in lists:
        assert wrong({**item, "fixtures": value})


def test_plugin() -> None:
    """The plugin can send no event of the agent's own, and no time."""
    assert not protocol.wrong_from_plugin({"ev": "leave", "pid": 8})
    assert protocol.wrong_from_plugin({"ev": "leave", "pid": 8, "t": 1.0})
    assert protocol.wrong_from_plugin({"ev": "done"})
    lines: list[Any] = [None, [], "leave", {}, {"ev": 1}, {"ev": ["leave"]}, {"ev": None}]
    for line in lines:
        assert protocol.wrong_from_plugin(line)
