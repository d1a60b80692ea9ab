"""A native thread attaches while the interpreter is finalizing: with PyO3 0.20 the process aborts."""

import atexit

import legacy_hangs

atexit.register(legacy_hangs.attach_for_ever)


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
