"""What the collecting process has made, and its forked children cannot use. All of these pass without `--forked`."""

import threading

import hangs

LOCK = threading.Lock()
hangs.hold_lock()
SUM = hangs.rayon_sum(1000)
ANSWER = hangs.tokio_answer()


def hold_python_lock() -> None:
    """What `hold_lock` does, in Python."""
    with LOCK:
        LOCKED.set()
        RELEASE.wait()


LOCKED, RELEASE = threading.Event(), threading.Event()
threading.Thread(target=hold_python_lock, daemon=True).start()
LOCKED.wait()


def test_first() -> None:
    assert (SUM, ANSWER) == (499500, 42)


def test_fork_mutex() -> None:
    hangs.take_lock()


def test_fork_python_lock() -> None:
    RELEASE.set()
    LOCK.acquire()  # hangs here: fork-py-lock


def test_fork_rayon() -> None:
    assert hangs.rayon_sum(1000) == SUM


def test_fork_tokio() -> None:
    assert hangs.tokio_answer() == ANSWER


def test_last() -> None:
    assert True
