"""Look-alikes and a deadlock for one process. A suite for test_deadlock.py."""

import os
import signal
import threading
import time

HOLD = float(os.environ["HOLD"])


def test_timer():
    event = threading.Event()
    threading.Timer(HOLD, event.set).start()
    event.wait()


def test_interrupt_of_a_process_that_is_nobodys_child():
    parent = os.getpid()
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(HOLD)
            os.kill(parent, signal.SIGINT)
        os._exit(0)
    os.wait()
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        assert file.read() == ""
    lock = threading.Lock()
    lock.acquire()
    try:
        lock.acquire()
    except KeyboardInterrupt:
        pass


def test_hangs():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
