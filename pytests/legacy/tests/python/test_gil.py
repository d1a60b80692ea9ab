"""Who holds the GIL while native code works."""

import threading
import time
from itertools import pairwise

import legacy_ext
import pytest

pytestmark = pytest.mark.gil


def turns_during(seconds: float, keep_gil: bool) -> list[float]:
    """When this thread had a turn while another rested in native code, the two ends included."""
    thread = threading.Thread(target=legacy_ext.rest, args=(seconds, keep_gil))
    turns = [time.monotonic()]
    thread.start()
    while thread.is_alive():
        turns.append(time.monotonic())
        time.sleep(0.001)
    turns.append(time.monotonic())
    return turns


@pytest.mark.slow
def test_python_goes_on_without_the_gil() -> None:
    assert len(turns_during(0.2, keep_gil=False)) > 5


@pytest.mark.slow
def test_python_stands_still_with_the_gil() -> None:
    assert max(later - earlier for earlier, later in pairwise(turns_during(0.2, keep_gil=True))) >= 0.2


def test_native_threads_call_back() -> None:
    seen: list[tuple[int, int]] = []
    legacy_ext.call_from_threads(lambda number: seen.append((number, threading.get_native_id())), 4)
    assert sorted(number for number, _ in seen) == [0, 1, 2, 3]
    assert threading.get_native_id() not in {thread for _, thread in seen}


def test_exception_in_a_native_thread_is_raised_here() -> None:
    with pytest.raises(KeyError, match="2"):
        legacy_ext.call_from_threads({0: None, 1: None}.__getitem__, 3)
