"""A handler of C's atexit joins a thread that waits for a mutex, as a C library may: nothing of it is Python's."""

import ctypes

LIBC = ctypes.CDLL(None)
MUTEX = ctypes.create_string_buffer(64)
ctypes.pythonapi.Py_IncRef(ctypes.py_object(MUTEX))  # the thread waits for it after the interpreter's end, too
THREAD = ctypes.c_void_p()
assert LIBC.pthread_mutex_lock(MUTEX) == 0
assert LIBC.pthread_create(ctypes.byref(THREAD), None, LIBC.pthread_mutex_lock, MUTEX) == 0
assert LIBC.__cxa_atexit(LIBC.pthread_join, THREAD, None) == 0


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
