"""No hang: a thread that comes to Python only when that has ended panics, and who joins it goes on."""

import hangs

WORKER = hangs.Worker()


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
