"""Native threads beside the interpreter and inside it. Each waits detached: attached, these would hang."""

import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import modern
import pytest


def test_python_goes_on_while_rust_rests(record_property: Callable[[str, object], None]) -> None:
    thread = threading.Thread(target=modern.rest, args=(timedelta(milliseconds=200),))
    thread.start()
    turns = 0
    while thread.is_alive():
        turns += 1
        time.sleep(0.001)
    record_property("turns", turns)
    assert turns > 3  # attached, it would be one before and one after


@pytest.mark.parametrize("workers", [1, 2, 7, 100])
def test_parallel_sum(workers: int) -> None:
    assert modern.parallel_sum(list(range(1000)), workers) == 499500


def test_parallel_sum_of_nothing() -> None:
    assert modern.parallel_sum([], 2) == 0
    with pytest.raises(ValueError, match="no workers"):
        modern.parallel_sum([1], 0)


def test_call_from_thread_runs_elsewhere() -> None:
    assert modern.call_from_thread(threading.get_native_id) != threading.get_native_id()


def test_call_from_thread_raises_here() -> None:
    with pytest.raises(ZeroDivisionError):
        modern.call_from_thread(lambda: 1 // 0)


def test_worker_handles_messages_in_order(calls: list[object]) -> None:
    worker = modern.Worker(calls.append)
    for message in range(100):
        worker.send(message)
    assert worker.close() == 100
    assert calls == list(range(100))
    with pytest.raises(RuntimeError, match="closed"):
        worker.send("too late")


def test_worker_gives_back_what_its_callable_raises() -> None:
    worker = modern.Worker({}.__getitem__)
    worker.send("missing")
    with pytest.raises(KeyError, match="missing"):
        worker.close()


def test_started_at_is_made_once() -> None:
    seen: list[float] = []
    threads = [threading.Thread(target=lambda: seen.append(modern.started_at())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert set(seen) == {modern.started_at()}


@pytest.mark.skipif(not hasattr(sys, "_is_gil_enabled"), reason="free threading begins with Python 3.13")
def test_import_leaves_the_gil_as_it_was() -> None:
    assert sys._is_gil_enabled() != bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
