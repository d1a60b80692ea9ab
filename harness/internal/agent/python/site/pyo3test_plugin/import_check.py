"""Checks that what the tests import is what was built: a folder of the same name can come first on sys.path."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from .events import Events
from .kept import os


class ImportCheck:
    """Checks the loaded modules after collection and after each test. Reports each module only once."""

    def __init__(self, modules: list[dict[str, Any]]) -> None:
        self.modules = modules
        """For each module, its name, the file that was built, and that file's size and time."""
        self.told: set[str] = set()

    def tell(self, events: Events) -> None:
        """After collection, report modules that are or would be loaded from elsewhere, and files that have changed."""
        for name, file, built in [*self._loaded(), *self._findable(), *self._changed()]:
            if name not in self.told:
                self.told.add(name)
                events.send("foreign", module=name, file=file, built=built)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self) -> None:
        """Check after each test, in its own process: an import in a test is too late for `tell`."""
        for name, file, built in self._loaded():
            if name not in self.told:
                self.told.add(name)
                pytest.fail(
                    f"the test imported {name} from {file}, which is not what was built: {built}", pytrace=False
                )

    def _loaded(self) -> Iterator[tuple[str, str, str]]:
        for name, place, whole in self._places():
            module = sys.modules.get(name)
            if not isinstance(module, types.ModuleType):
                continue  # not imported, or a test's substitute
            file = module.__dict__.get("__file__")
            folders = module.__dict__.get("__path__", ())
            if isinstance(file, str) and not _right(place, whole, file, folders):
                yield name, file, place

    def _findable(self) -> Iterator[tuple[str, str, str]]:
        for name, place, whole in self._places():
            if "." in name or name in sys.modules:
                continue  # finding a submodule would import the packages above it
            try:
                spec = importlib.util.find_spec(name)
            except Exception as error:  # raised by one of the project's finders
                yield name, f"nowhere ({error!r})", place
                continue
            if spec is None:
                yield name, "nowhere", place
            elif not _right(place, whole, spec.origin, spec.submodule_search_locations or ()):
                yield name, spec.origin or ", ".join(spec.submodule_search_locations or ()), place

    def _changed(self) -> Iterator[tuple[str, str, str]]:
        for module in self.modules:
            try:
                status = os.stat(module["file"])
            except OSError as error:
                yield module["name"], f"nowhere ({error.strerror})", module["file"]
                continue
            if [status.st_size, status.st_mtime_ns] != module["state"]:
                yield module["name"], "a file that was changed since", module["file"]

    def _places(self) -> Iterator[tuple[str, str, bool]]:
        """Yield each module and the packages above it: name, file or folder, and whether it is the module itself."""
        for module in self.modules:
            name, place = module["name"], module["file"]
            yield name, place, True
            while "." in name:
                name, place = name.rpartition(".")[0], os.path.dirname(place)
                yield name, place, False


def _right(place: str, whole: bool, file: str | None, folders: Iterable[Any]) -> bool:
    if whole:
        return file is not None and _same(file, place)
    return any(_same(str(folder), place) for folder in folders)


def _same(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)
