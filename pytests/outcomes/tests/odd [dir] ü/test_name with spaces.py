"""A path that is hostile itself."""

import pytest


def test_passes() -> None:
    assert True


def test_fails() -> None:
    pytest.fail("in a file with spaces")
