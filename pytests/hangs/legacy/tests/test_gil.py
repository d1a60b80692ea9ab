"""Who holds the GIL and waits, or is waited for."""

import legacy_hangs


def test_first() -> None:
    assert True


def test_gil_mutex() -> None:
    legacy_hangs.gil_mutex()


def test_spin() -> None:
    legacy_hangs.spin()


def test_native_park() -> None:
    legacy_hangs.native_park()


def test_native_park_attached() -> None:
    legacy_hangs.native_park_attached()


def test_once_gil() -> None:
    legacy_hangs.once_gil()


def test_recv_attached() -> None:
    legacy_hangs.recv_attached()


def test_drop_join() -> None:
    worker = legacy_hangs.Worker()
    del worker


def test_last() -> None:
    assert True
