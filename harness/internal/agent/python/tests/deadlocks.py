"""Tests that deadlock, each in a way that can be proved. A suite for test_deadlock.py."""

import ctypes
import os
import threading
import time


def hang_begins():
    with open(os.environ["PYTEST_CURRENT_TEST"].split("::")[1].split()[0] + ".begins", "w") as file:
        file.write(str(time.monotonic()))


def test_lock_taken_twice():
    lock = threading.Lock()
    lock.acquire()
    hang_begins()
    lock.acquire()


def test_late():
    time.sleep(2.2)
    test_lock_taken_twice()


def test_locks_in_two_orders():
    first, second, both = threading.Lock(), threading.Lock(), threading.Barrier(2)

    def take(one, other):
        with one:
            both.wait()
            with other:
                pass

    thread = threading.Thread(target=take, args=(first, second))
    thread.start()
    hang_begins()
    take(second, first)


def test_join_of_a_thread_that_waits_for_us():
    lock = threading.Lock()

    def take():
        with lock:
            pass

    with lock:
        thread = threading.Thread(target=take, name="waiter")
        thread.start()
        hang_begins()
        thread.join()


def test_a_thread_that_is_held_forever():
    """As CPython holds a thread that attaches too late."""
    thread = threading.Thread(target=ctypes.CDLL(None).pause)
    thread.start()
    hang_begins()
    thread.join()


def test_native_wait_with_the_gil(threads=1):
    wait = ctypes.PyDLL(None).pthread_mutex_lock
    mutex = ctypes.create_string_buffer(64)

    def wants_the_gil():
        while True:
            time.sleep(0.05)

    for _ in range(threads):
        threading.Thread(target=wants_the_gil, daemon=True).start()
    time.sleep(0.1)
    hang_begins()
    wait(mutex)
    wait(mutex)


def test_native_wait_with_the_gil_that_many_want():
    test_native_wait_with_the_gil(40)


def test_native_wait_without_the_gil():
    mutex = ctypes.create_string_buffer(64)
    wait = ctypes.CDLL(None).pthread_mutex_lock
    wait(mutex)
    hang_begins()
    wait(mutex)


def test_condition_and_event_that_nobody_sets():
    condition = threading.Condition()
    thread = threading.Thread(target=threading.Event().wait)
    thread.start()
    with condition:
        hang_begins()
        condition.wait()


def test_idle_workers_do_not_hide_it():
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(abs, range(10)))
        hang_begins()
        pool.submit(lambda: pool.submit(threading.Event().wait).result()).result()


def test_a_child_that_has_ended():
    import subprocess

    subprocess.run(["true"], check=True)
    test_lock_taken_twice()
