"""A handler of Python's atexit parks."""

import atexit

import hangs

atexit.register(hangs.native_park)


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
