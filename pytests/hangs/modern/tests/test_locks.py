"""A lock and the GIL taken in two orders, and a lock taken twice."""

import threading
import time

import hangs


def test_first() -> None:
    assert True


def test_gil_mutex() -> None:
    hangs.gil_mutex()


def test_gil_parking_lot() -> None:
    hangs.gil_parking_lot()


def test_lock_across_a_callback() -> None:
    """A thread calls back with a Rust lock held and lets go of the GIL; this one takes that and waits for the lock."""
    locked = threading.Event()

    def call_back() -> None:
        locked.set()
        time.sleep(0.3)

    threading.Thread(target=hangs.call_locked, args=(call_back,), daemon=True).start()
    locked.wait()
    hangs.call_locked(int)


def test_lock_taken_twice() -> None:
    hangs.call_locked_again(lambda: hangs.call_locked_again(int))


def test_rust_locks_in_two_orders() -> None:
    hangs.rust_lock_order()


def test_stop_the_world() -> None:
    hangs.stop_the_world()


def test_python_lock_taken_twice() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()  # hangs here: py-lock


def test_python_locks_in_two_orders() -> None:
    """Two threads, each with the lock that the other one wants."""
    one, two, both = threading.Lock(), threading.Lock(), threading.Barrier(2)

    def other_order() -> None:
        with two:
            both.wait()
            one.acquire()

    threading.Thread(target=other_order, daemon=True).start()
    with one:
        both.wait()
        two.acquire()  # hangs here: py-lock-order


def test_join_of_a_thread_that_waits() -> None:
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    thread.join()  # hangs here: py-join


def test_last() -> None:
    assert True
