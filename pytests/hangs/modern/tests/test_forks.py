"""What the collecting process has made, and its forked children cannot use. All of these pass without `--forked`, the lock
excepted.
"""

import hangs

hangs.hold_lock()
SUM = hangs.rayon_sum(1000)
ANSWER = hangs.tokio_answer()


def test_first() -> None:
    assert (SUM, ANSWER) == (499500, 42)


def test_fork_mutex() -> None:
    hangs.take_lock()


def test_fork_rayon() -> None:
    assert hangs.rayon_sum(1000) == SUM


def test_fork_tokio() -> None:
    assert hangs.tokio_answer() == ANSWER


def test_last() -> None:
    assert True
