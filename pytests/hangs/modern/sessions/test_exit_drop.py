"""An object that lives as long as the interpreter joins its thread when it is dropped."""

import atexit

import hangs

SESSIONS: list[hangs.Session] = []


@atexit.register
def open_session() -> None:
    """Opens it late: no test is forked while its thread is about to attach."""
    SESSIONS.append(hangs.Session())


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
