"""The workaround as teams write it down: initialise once, collect after each test, run with `--forked`."""

import gc
import os
from collections.abc import Iterator

import pytest

# PyO3 reads no such variable; projects set it, so it is here. What PyO3 reads is PYO3_PYTHON, when it is built.
os.environ.setdefault("PYO3_NO_PYTHON_VERSION_CHECK", "1")

# Not inside the fixture and not in a `try`: a module that cannot be imported must end the session at once.
import legacy_ext


@pytest.fixture(scope="session", autouse=True)
def initialised() -> bool:
    """Initialises the extension once a session; with `--forked` each test's process is a session."""
    return legacy_ext.initialize()


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Frees what a test left in cycles before the next one starts, native objects included."""
    yield
    gc.collect()
