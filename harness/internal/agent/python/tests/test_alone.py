"""The plugin in a pytest that was started by hand: `pytest -p pyo3test_plugin.hooks --forked`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from conftest import AGENT, Suite

MIXED = """
import os, warnings
import pytest
HERE = os.getpid()
def test_forked(): assert os.getpid() != HERE
def test_fresh(): assert os.getpid() == HERE
def test_dies(): os._exit(3)
def test_warns(): warnings.warn("heard")
"""


def by_hand(suite: Suite, *args: str) -> tuple[int, str]:
    """Run pytest itself and return its status and output."""
    said = subprocess.run(
        [suite.python, "-m", "pytest", "-p", "no:forked", "-p", "pyo3test_plugin.hooks", *args],
        check=False,
        cwd=suite.folder,
        env={**os.environ, "PYTHONPATH": str(Path(AGENT).parent / "site")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )
    return said.returncode, said.stdout.decode()


def test_forked(suite: Suite) -> None:
    suite.write(test_a=MIXED)
    status, said = by_hand(suite, "--forked", "--junitxml=junit.xml")
    assert status == 1 and "2 failed, 2 passed, 1 warning" in said and "exited with status 3 during call" in said
    assert (suite.folder / "junit.xml").read_text().count("<testcase ") == 4


def test_fresh(suite: Suite) -> None:
    suite.write(test_a=MIXED)
    status, said = by_hand(suite, "--forked-subprocess", "--junitxml=junit.xml", "-v")
    assert status == 1 and "2 failed, 2 passed, 1 warning" in said and "test_a.py::test_fresh PASSED" in said
    assert (suite.folder / "junit.xml").read_text().count("<testcase ") == 4


def test_without_its_options_it_does_nothing(suite: Suite) -> None:
    suite.write(test_a="import os\nHERE = os.getpid()\ndef test_here(): assert os.getpid() == HERE\n")
    status, said = by_hand(suite)
    assert status == 0 and "1 passed" in said
