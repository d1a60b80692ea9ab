"""Each test hangs in few of its runs, and passes otherwise. With RACES_CERTAIN, each hangs."""

import os
import threading
import time

import races

LATER = 0.0005
"""Seconds after which another thread has usually done its part."""

if os.environ.get("RACES_CERTAIN"):
    races.make_certain()


def together(*functions):
    """Call the functions in threads of their own."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_lock_across_detach():
    ledger = races.Ledger()

    def add():
        for _ in range(5):
            ledger.add([1, 2, 3])

    together(add, add)


def test_once_that_detaches():
    def look_up():
        for index in range(5):
            races.look_up(index)

    def look_up_later():
        time.sleep(LATER)
        look_up()

    together(look_up, look_up_later)


def test_two_orders():
    one, two = races.Account(1, 100), races.Account(2, 100)

    def pay(giver, taker):
        for _ in range(5):
            giver.transfer(taker, 1)

    together(lambda: pay(one, two), lambda: pay(two, one))
    assert one.balance == two.balance == 100


def test_drop_joins():
    called = []
    job = races.Job([1, 2, 3], lambda: called.append(True))
    assert job.result() > 0
    time.sleep(LATER)
