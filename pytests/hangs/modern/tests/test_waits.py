"""Native code that does not come back, with the GIL and without it."""

import asyncio
import itertools
import signal

import hangs


def test_first() -> None:
    assert True


def test_spin() -> None:
    hangs.spin()


def test_native_park() -> None:
    hangs.native_park()


def test_native_park_attached() -> None:
    hangs.native_park_attached()


def test_native_sleep_attached() -> None:
    hangs.native_sleep_attached()


def test_python_loop() -> None:
    """Python code that goes on forever: the GIL changes hands, and signals get through."""
    sum(0 for _ in itertools.count())  # hangs here: python-loop


def test_future_that_nobody_sets() -> None:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    asyncio.run(wait())  # hangs here: asyncio-future


def test_deaf() -> None:
    """No signal but SIGKILL and SIGSTOP gets through."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    hangs.native_park()  # hangs here: deaf


def test_last() -> None:
    assert True
