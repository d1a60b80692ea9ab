"""A native thread attaches while the interpreter is finalizing: with PyO3 0.20 the process aborts."""

import legacy_hangs

legacy_hangs.report_for_ever()


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
