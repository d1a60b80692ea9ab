"""A test that takes all the memory there is. Its group should have little."""

import hangs


def test_first() -> None:
    assert True


def test_out_of_memory() -> None:
    hangs.out_of_memory()


def test_last() -> None:
    assert True
