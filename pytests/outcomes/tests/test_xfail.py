"""Expected failures, and those that were expected and did not come."""

import pytest


@pytest.fixture
def broken_setup() -> None:
    raise RuntimeError("setup broke")


@pytest.mark.xfail(reason="expected to fail")
def test_xfail() -> None:
    raise AssertionError


@pytest.mark.xfail(reason="expected to raise KeyError", raises=KeyError)
def test_xfail_raises() -> None:
    raise KeyError


@pytest.mark.xfail(reason="expected to raise KeyError", raises=KeyError)
def test_xfail_raises_something_else() -> None:
    raise RuntimeError("something else")


@pytest.mark.xfail(reason="never started", run=False)
def test_xfail_not_run() -> None:
    raise AssertionError


def test_xfail_by_a_call() -> None:
    pytest.xfail("expected by a call")


@pytest.mark.xfail(reason="expected, setup included")
def test_xfail_in_setup(broken_setup: None) -> None:
    pytest.fail("never runs")


@pytest.mark.xfail(False, reason="never expected")
def test_xfail_that_does_not_apply() -> None:
    raise AssertionError("not expected")


@pytest.mark.xfail(reason="passes nevertheless")
def test_xpass() -> None:
    assert True


@pytest.mark.xfail(reason="passes nevertheless, and must not", strict=True)
def test_xpass_strict() -> None:
    assert True


@pytest.mark.xfail(reason="fails as it must", strict=True)
def test_xfail_strict() -> None:
    raise AssertionError
