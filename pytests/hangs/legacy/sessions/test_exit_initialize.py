"""A thread comes to Python when that has ended: auto-initialize starts an interpreter in the middle of the other one's end."""

import legacy_hangs

WORKER = legacy_hangs.Worker()


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
