"""Pools of threads that come back to Python."""

import hangs


def test_first() -> None:
    assert True


def test_rayon_reentry() -> None:
    hangs.rayon_reentry()


def test_tokio_block_on() -> None:
    hangs.tokio_block_on()


def test_idle_pool() -> None:
    hangs.idle_pool()


def test_last() -> None:
    assert True
