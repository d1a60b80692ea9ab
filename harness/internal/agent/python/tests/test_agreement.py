"""For tests that work with pytest-forked, its outcomes and ours agree test by test."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import Suite
from test_outcomes import OUTCOMES

RECORDER = """
import json
VERDICTS = {}
def pytest_runtest_logreport(report):
    words = VERDICTS.setdefault(report.nodeid, [])
    words.append([report.when, report.outcome, getattr(report, "wasxfail", None)])
def pytest_sessionfinish():
    with open("verdicts.json", "w") as file: json.dump(VERDICTS, file)
"""


@pytest.mark.each_python
def test_agreement_with_pytest_forked(suite: Suite) -> None:
    versions = subprocess.run(
        [suite.python, "-c", "import pytest, pytest_forked; print(pytest.__version__)"], capture_output=True, text=True
    )
    if versions.returncode:
        pytest.skip("no pytest-forked")
    major, minor = (int(part) for part in versions.stdout.split(".")[:2])
    if (major, minor) >= (9, 2):
        pytest.skip("pytest-forked fails every test of pytest 9.2 and newer")
    # It cannot carry a property that is not a plain builtin.
    suite.write(test_a=OUTCOMES.replace('record_property("odd", object)', "pass"), conftest=RECORDER)
    script = Path(suite.python).parent / "pytest"
    done = subprocess.run(
        [script, "--forked", "-q", "-p", "no:cacheprovider", "-p", "no:run_parallel", "-p", "no:pytest_run_parallel"],
        cwd=suite.folder,
        capture_output=True,
        text=True,
    )
    theirs = json.loads((suite.folder / "verdicts.json").read_text())
    assert len(theirs) > 15, done.stdout
    for workers in (1, 2):
        suite.run(workers=workers)
        assert json.loads((suite.folder / "verdicts.json").read_text()) == theirs
