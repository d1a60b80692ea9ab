"""A thread that is no daemon keeps the interpreter from ending."""

import threading

threading.Thread(target=threading.Event().wait).start()


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
