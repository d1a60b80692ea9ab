"""Tests whose process ends under them. Run without `--forked`, the first one ends the session."""

import os
import signal
from collections.abc import Iterator

import outcomes
import pytest


@pytest.fixture
def crash_in_setup() -> None:
    outcomes.abort()


@pytest.fixture
def crash_in_teardown() -> Iterator[None]:
    yield
    outcomes.abort()


def test_abort() -> None:
    outcomes.abort()


def test_segfault() -> None:
    outcomes.segfault()


def test_signal_to_itself() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def test_kill_to_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("status", [0, 1, 3, 4, 255])
def test_exit(status: int) -> None:
    os._exit(status)


def test_crash_after_output() -> None:
    print("Python's last words")
    outcomes.print("Rust's last words")
    outcomes.abort()


def test_crash_in_setup(crash_in_setup: None) -> None:
    pytest.fail("never runs")


def test_crash_in_teardown(crash_in_teardown: None) -> None:
    assert True


def test_crash_in_teardown_after_a_failure(crash_in_teardown: None) -> None:
    raise AssertionError("call failed")


@pytest.mark.xfail(reason="expected to crash")
def test_expected_crash() -> None:
    outcomes.segfault()


def test_after_the_crashes() -> None:
    assert True
