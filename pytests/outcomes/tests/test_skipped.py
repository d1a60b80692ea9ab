"""Tests that are skipped, each in another way."""

import pytest


@pytest.fixture
def skipping() -> None:
    pytest.skip("skipped by a fixture")


@pytest.mark.skip(reason="skipped by a mark")
def test_mark() -> None:
    pytest.fail("never runs")


@pytest.mark.skip
def test_mark_without_a_reason() -> None:
    pytest.fail("never runs")


@pytest.mark.skipif(True, reason="skipped by a condition")
def test_condition() -> None:
    pytest.fail("never runs")


@pytest.mark.skipif("sys.version_info.major == 3", reason="skipped by a condition in a string")
def test_condition_in_a_string() -> None:
    pytest.fail("never runs")


@pytest.mark.skipif(False, reason="never skipped")
def test_condition_that_is_false() -> None:
    assert True


def test_call() -> None:
    pytest.skip("skipped by a call, with 100% of its\nsecond line")


def test_fixture(skipping: None) -> None:
    pytest.fail("never runs")


def test_import() -> None:
    pytest.importorskip("no_such_module", reason="skipped for want of a module")


@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.skip(reason="skipped by its parameter"))])
def test_parameter(number: int) -> None:
    assert number == 1
