"""Tests that fail while they run."""

import helpers
import outcomes
import pytest


def test_comparison() -> None:
    assert [1, 2, 3] == [1, 2, 4], "not the same"


def test_exception() -> None:
    {}["missing"]


def test_in_a_helper() -> None:
    helpers.check_even(7)


def test_chained() -> None:
    try:
        int("not a number")
    except ValueError as err:
        raise RuntimeError("outer") from err


def test_native_exception() -> None:
    outcomes.fail("said by Rust")


def test_native_panic() -> None:
    outcomes.panic("panicked on purpose")


def test_pytest_fail() -> None:
    pytest.fail("said by pytest.fail", pytrace=False)


def test_did_not_raise() -> None:
    with pytest.raises(ValueError):
        pass


def test_long_text() -> None:
    raise AssertionError("the beginning " + "x" * 100_000 + " the end")


def test_text_of_many_alphabets() -> None:
    raise AssertionError("naïve 数 🦀 \x1b[31mred\x1b[0m \x00 ]]> <tag/> &amp;")


def test_system_exit() -> None:
    raise SystemExit(3)
