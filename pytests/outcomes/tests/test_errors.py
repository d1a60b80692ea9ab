"""Errors outside the test itself: in setup, in teardown, and in both phases of one test."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def broken_setup() -> None:
    raise RuntimeError("setup broke")


@pytest.fixture
def broken_teardown() -> Iterator[None]:
    yield
    raise RuntimeError("teardown broke")


@pytest.fixture(scope="class")
def broken_class_teardown() -> Iterator[None]:
    """Torn down once by plain pytest, in each child by a forked run."""
    yield
    raise RuntimeError("class teardown broke")


def test_setup_error(broken_setup: None) -> None:
    pytest.fail("never runs")


def test_setup_error_after_which_teardown_breaks(broken_teardown: None, broken_setup: None) -> None:
    pytest.fail("never runs")


def test_unknown_fixture(no_such_fixture: None) -> None:
    pytest.fail("never runs")


def test_teardown_error_after_a_pass(broken_teardown: None) -> None:
    assert True


def test_teardown_error_after_a_failure(broken_teardown: None) -> None:
    raise AssertionError("call failed")


def test_teardown_error_after_a_skip(broken_teardown: None) -> None:
    pytest.skip("skipped before the teardown broke")


@pytest.mark.xfail(reason="expected, teardown included")
def test_teardown_error_that_is_expected(broken_teardown: None) -> None:
    raise AssertionError("call failed")


@pytest.mark.usefixtures("broken_class_teardown")
class TestClassTeardown:
    """Both are errors where each test has its own process; only the second one otherwise."""

    def test_first(self) -> None:
        assert True

    def test_second(self) -> None:
        assert True
