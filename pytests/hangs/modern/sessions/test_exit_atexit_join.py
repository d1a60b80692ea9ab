"""A handler of Python's atexit joins, with the GIL held, a thread that needs it."""

import atexit

import hangs

atexit.register(hangs.join_worker)


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
