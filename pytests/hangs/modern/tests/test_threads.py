"""Native threads that need the GIL, waited for by who holds it."""

import logging

import hangs


def test_first() -> None:
    assert True


def test_drop_join() -> None:
    worker = hangs.Worker()
    del worker


def test_join_attached() -> None:
    hangs.join_attached()


def test_drop_elsewhere() -> None:
    hangs.drop_elsewhere(object())


def test_log_from_thread() -> None:
    hangs.log_from_thread(logging.getLogger("hangs"))


def test_callback_that_never_returns() -> None:
    """The call waits detached, as it should, for Python code in its thread that does not end."""
    hangs.call_from_thread(hangs.native_park)


def test_last() -> None:
    assert hangs.call_from_thread(lambda: 42) == 42
