"""Channels between threads that are attached to the interpreter."""

import hangs


def test_first() -> None:
    assert True


def test_recv_attached() -> None:
    hangs.recv_attached()


def test_channel_full() -> None:
    hangs.channel_full()


def test_last() -> None:
    assert True
