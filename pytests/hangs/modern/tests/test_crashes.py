"""Ways for a process to die under a test."""

import os

import hangs


def test_first() -> None:
    assert True


def test_segv() -> None:
    hangs.segfault()  # crashes here: segv


def test_abort() -> None:
    hangs.abort()  # crashes here: abort


def test_extern_panic() -> None:
    hangs.extern_panic()  # crashes here: extern-panic


def test_stack_overflow() -> None:
    hangs.stack_overflow()  # crashes here: stack-overflow


def test_exit_0() -> None:
    os._exit(0)


def test_exit_4() -> None:
    os._exit(4)


def test_last() -> None:
    assert True
