"""A C exit handler joins a thread that PyO3 has parked, because the interpreter had ended."""

import hangs

hangs.join_at_c_exit()


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
