"""Output, log records, warnings and properties, of tests that pass and of tests that fail."""

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import PurePosixPath

import outcomes
import pytest

log = logging.getLogger(__name__)


def say_everything() -> None:
    """One line by each way out."""
    print("a line by Python")
    print("an error line by Python", file=sys.stderr)
    log.warning("a record by logging")
    outcomes.print("a line by Rust")
    outcomes.write_to(1, b"a line by write\n")
    outcomes.write_to(2, b"an error line by write\n")


def test_output_of_a_pass() -> None:
    say_everything()


def test_output_of_a_failure() -> None:
    say_everything()
    raise AssertionError("after the output")


def test_order(capfd: pytest.CaptureFixture[str]) -> None:
    print("1 Python")
    outcomes.print("2 Rust")
    outcomes.write_to(1, b"3 write\n")
    print("4 Python")
    assert capfd.readouterr().out == "1 Python\n2 Rust\n3 write\n4 Python\n"


def test_output_that_is_no_text() -> None:
    outcomes.write_to(1, b"before \xff\xfe\x00\x1b[31m after\n")
    raise AssertionError("after output that is no text")


def test_output_without_an_end_of_line() -> None:
    outcomes.write_to(1, b'{"ev": "report", "outcome": "passed"}')


def test_much_output() -> None:
    for _ in range(3000):
        print("x" * 99)


def test_much_output_of_a_failure() -> None:
    print("the beginning")
    for _ in range(3000):
        print("x" * 99)
    print("the end")
    raise AssertionError("after much output")


def test_warning() -> None:
    warnings.warn("a warning by Python", UserWarning, stacklevel=1)


def test_properties(record_property: Callable[[str, object], None]) -> None:
    record_property("plain", "value")
    record_property("number", 1.5)
    record_property("no builtin", PurePosixPath("a/b"))
    record_property("many lines", "one\ntwo\x00")
    record_property("plain", "a second value")
    record_property("naïve 🦀", None)


def test_properties_of_a_failure(record_property: Callable[[str, object], None]) -> None:
    record_property("seen", True)
    raise AssertionError("after the property")
