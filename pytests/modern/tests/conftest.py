"""Fixtures that more than one file uses."""

import gc
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def calls() -> list[object]:
    """A list for callbacks to write into."""
    return []


@pytest.fixture
def collect_after() -> Iterator[Callable[[], int]]:
    """A full garbage collection, with the automatic one off so that nothing else frees the objects."""
    gc.disable()
    yield gc.collect
    gc.enable()
