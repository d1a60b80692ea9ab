"""A thread comes to Python when that has ended: auto-initialize starts a new one, in the middle of the old one's end."""

import legacy_hangs

WORKER = legacy_hangs.Worker()


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
