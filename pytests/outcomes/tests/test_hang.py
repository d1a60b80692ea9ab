"""Tests that never end. Only for a runner with a deadline; pytest itself has none."""

import threading
from collections.abc import Iterator

import outcomes
import pytest


@pytest.fixture
def hang_in_setup() -> None:
    outcomes.park()


@pytest.fixture
def hang_in_teardown() -> Iterator[None]:
    yield
    outcomes.park()


def test_parked_without_the_gil() -> None:
    print("said before the hang")
    outcomes.park()


def test_running_with_the_gil() -> None:
    outcomes.spin()


def test_lock_taken_twice() -> None:
    lock = threading.Lock()
    with lock, lock:
        pytest.fail("never runs")


def test_in_setup(hang_in_setup: None) -> None:
    pytest.fail("never runs")


def test_in_teardown(hang_in_teardown: None) -> None:
    assert True


def test_after_the_hangs() -> None:
    assert True
