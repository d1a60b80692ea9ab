"""Suites that use popular plugins end as in plain pytest."""

from __future__ import annotations

import re
import subprocess

import pytest
from conftest import Suite
from test_plugins import needs

RERUNNERS = {"flaky": "rerunfailures", "pytest_rerunfailures": "flaky"}
"""Modules of plugins, and the name of the plugin that must be disabled for each: both use the mark `flaky`."""
RERUN = """
    import pytest
    SEEN = set()
    def fail_once(name):
        first = name not in SEEN
        SEEN.add(name)
        assert not first
    @pytest.fixture
    def setup(request): fail_once(request.node.name)
    pytestmark = pytest.mark.flaky({argument}=3)
    def test_passes_then(): fail_once("call")
    def test_setup_passes_then(setup): pass
    def test_skips_then():
        fail_once("skip")
        pytest.skip("why")
    def test_fails(): assert 0
    def test_passes(): pass
    """


def plain(suite: Suite, *args: str) -> tuple[int, str]:
    """Return the exit status of plain pytest, and the counts of its last line."""
    command = [suite.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args]
    done = subprocess.run(command, cwd=suite.folder, capture_output=True, text=True)
    return done.returncode, counts(done.stdout)


def counts(output: str) -> str:
    """Return the counts in pytest's last line, such as `1 failed, 2 passed`."""
    return re.sub(r" in [\d.]+s.*", "", output.strip().splitlines()[-1]).strip("= ")


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
@pytest.mark.parametrize("plugin", RERUNNERS)
def test_reruns_of_a_plugin(plugged: Suite, plugin: str, isolation: str) -> None:
    """A rerun that passes is a pass. In pytest's JUnit file, each attempt with its teardown is a testcase."""
    needs(plugged, plugin)
    argument = "max_runs" if plugin == "flaky" else "reruns"
    plugged.write(test_a=RERUN.replace("{argument}", argument))
    options = ["-p", f"no:{RERUNNERS[plugin]}"]
    run = plugged.run(*options, isolation=isolation)
    for name in ("test_passes_then", "test_setup_passes_then", "test_passes"):
        assert run.reports(name)[-3:] == [(when, "passed") for when in ("setup", "call", "teardown")]
    assert ("call", "skipped") in run.reports("test_skips_then")
    assert ("call", "failed") in run.reports("test_fails") and ("call", "failed") not in run.reports("test_passes_then")
    for item in run.of("item"):
        attempts = [each for each in run.of("report", index=item["index"]) if each["when"] == "teardown"]
        assert len(run.junit()[tuple(item["junit"])]) == len(attempts), item["nodeid"]
    assert len(run.junit()[("test_a", "test_passes_then")]) == 2
    assert (run.one("exit")["exit"], counts(run.log)) == plain(plugged, *options)


@pytest.mark.parametrize("isolation", ["forked", "subprocess"])
def test_rerun_of_subtests(plugged: Suite, isolation: str) -> None:
    """If an attempt does not count, neither does a subtest that failed in it."""
    needs(plugged, "pytest_rerunfailures")
    plugged.write(
        test_a="""
        import pytest
        RUNS = []
        @pytest.mark.flaky(reruns=1)
        def test_1(subtests):
            RUNS.append(1)
            with subtests.test("one"): assert len(RUNS) == 2
        def test_2(subtests):
            with subtests.test("two"): assert 0
        """
    )
    run = plugged.run("-p", "no:flaky", isolation=isolation)
    assert run.verdicts() == {"test_a.py::test_1": "passed", "test_a.py::test_2": "failed"}
    assert run.one("exit")["exit"] == plain(plugged, "-p", "no:flaky")[0] == 1
    assert "FAILED test_a.py::test_1" not in run.log


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
def test_fake_files(plugged: Suite, isolation: str) -> None:
    """pyfakefs puts its fakes into the globals of all modules, including those of this plugin."""
    needs(plugged, "pyfakefs")
    plugged.write(
        test_a="""
        import os
        def test_files(fs):
            fs.create_file("/a/b", contents="c")
            print("printed")
            assert open("/a/b").read() == "c" and not os.path.exists(__file__)
        def test_fails(fs):
            print("x" * 100_000)
            assert os.listdir("/tmp") == [1]
        def test_for_the_module(fs_module): assert not os.path.exists(__file__)
        """
    )
    run = plugged.run(isolation=isolation)
    assert list(run.verdicts().values()) == ["passed", "failed", "passed"], run.log
    assert "all is in output-" in str(run.report("test_fails")["sections"])
    assert (run.one("exit")["exit"], counts(run.log)) == plain(plugged)
