"""Names the plugins and hooks of a project that need all tests in one process: forked tests leave them nothing to see.

It uses nothing of this package, because `pyo3test doctor` takes this file along with its probe.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from typing import Any

import pytest


@dataclasses.dataclass(frozen=True)
class Need:
    """A distribution, the feature of it that a suite has to use, and what goes wrong then."""

    distribution: str
    why: str
    mark: str = ""
    fixture: str = ""
    option: str = ""

    def is_used(self, config: pytest.Config, items: list[pytest.Item]) -> bool:
        """Report whether the suite uses it."""
        if self.option and getattr(config.option, self.option, None) is not None:
            return True
        return any(
            (self.mark and item.get_closest_marker(self.mark))
            or (self.fixture and self.fixture in getattr(item, "fixturenames", ()))
            for item in items
        )


SKIPS = "a forked test does not know which others have passed, so each test that depends on another is skipped"
NEEDS = (
    Need("pytest-dependency", SKIPS, mark="dependency"),
    Need("pytest-depends", SKIPS, mark="depends"),
    Need(
        "pytest-benchmark",
        "its measurements stay in the forked tests: it shows none, and --benchmark-compare-fail has nothing to compare",
        fixture="benchmark",
    ),
    Need(
        "syrupy",
        "it notes in the forked tests which snapshots are used, so all look unused, which is an error",
        fixture="snapshot",
    ),
    Need(
        "pytest-rerunfailures",
        "each forked test counts its reruns alone, so --max-suite-reruns has no effect",
        option="max_suite_reruns",
    ),
)
HOOK = (
    "it runs in pytest's own process, which sees nothing that forked tests leave in memory: if it checks that, "
    "it looks as if no test had run"
)


def find(config: pytest.Config, items: list[pytest.Item]) -> list[tuple[str, str]]:
    """Return what needs one process, each with the reason."""
    installed = {
        str(dist.project_name).lower().replace("_", "-"): f"{dist.project_name} {dist.version}"
        for _, dist in config.pluginmanager.list_plugin_distinfo()
    }
    found = [
        (installed[need.distribution], need.why)
        for need in NEEDS
        if need.distribution in installed and need.is_used(config, items)
    ]
    return found + [(f"{place}: pytest_sessionfinish", HOOK) for place in _hooks(config)]


def _hooks(config: pytest.Config) -> list[str]:
    """Return where the project's own hooks for the end of a session are: in conftests and plugins beside the tests."""
    root = os.path.realpath(config.rootpath)
    found = []
    for implementation in config.hook.pytest_sessionfinish.get_hookimpls():
        code: Any = getattr(inspect.unwrap(implementation.function), "__code__", None)
        file = os.path.realpath(getattr(code, "co_filename", ""))
        if file.startswith(os.path.join(root, "")) and "site-packages" not in file.split(os.sep):
            found.append(f"{file}:{code.co_firstlineno}")
    return sorted(found)
