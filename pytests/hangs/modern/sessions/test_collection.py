"""A test file that never comes to an end."""

import hangs

hangs.native_park()  # hangs here: collection


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
