"""Hangs before and after a test."""

from collections.abc import Iterator

import hangs
import pytest


@pytest.fixture
def slow_to_start() -> None:
    hangs.native_park()  # hangs here: set-up


@pytest.fixture
def slow_to_end() -> Iterator[None]:
    yield
    hangs.native_park()  # hangs here: tear-down


@pytest.fixture(scope="session")
def server() -> None:
    """With `--forked` each test that needs it comes to the same end."""
    hangs.native_park()  # hangs here: session-fixture


def test_first() -> None:
    assert True


def test_set_up(slow_to_start: None) -> None:
    pytest.fail("never runs")


def test_tear_down(slow_to_end: None) -> None:
    assert True


def test_session_fixture(server: None) -> None:
    pytest.fail("never runs")


def test_last() -> None:
    assert True
