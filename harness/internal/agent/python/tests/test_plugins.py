"""How the plugin works with other plugins and with settings that projects have."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Suite

pytestmark = pytest.mark.slow

TRIVIAL = "def test_1(): pass\ndef test_2(): pass\n"


def needs(suite: Suite, module: str) -> None:
    """Skip if the suite's Python has no such plugin."""
    if subprocess.run([suite.python, "-c", f"import {module}"], capture_output=True).returncode:
        pytest.skip(f"no {module}")


def test_warnings_are_errors(suite: Suite) -> None:
    """Nothing of the plugin's warns, not even at the interpreter's end."""
    suite.write(
        test_a="import warnings\ndef test_1(tmp_path): pass\ndef test_bad(): warnings.warn('w')\n",
        pytest__ini="[pytest]\nfilterwarnings = error\n",
    )
    for isolation in ("forked", "subprocess", "inprocess"):
        run = suite.run("-W", "error", isolation=isolation, env={"PYTHONWARNINGS": "error"}, workers=2)
        assert run.verdicts() == {"test_a.py::test_1": "passed", "test_a.py::test_bad": "failed"}, run.log
        assert run.report("test_bad")["message"] == "UserWarning: w"
        assert "ResourceWarning" not in run.log and "Deprecat" not in run.log and "RemovedIn" not in run.log


@pytest.mark.parametrize(("given", "asked", "workers"), [("-n 3", 0, 3), ("-n 3", 2, 2), ("-n 0", 0, 1), ("", 0, 1)])
def test_xdist_numbers_are_workers(suite: Suite, given: str, asked: int, workers: int) -> None:
    needs(suite, "xdist")
    suite.write(test_a=TRIVIAL, pytest__ini=f"[pytest]\naddopts = {given}\n")
    run = suite.run(workers=asked)
    session = run.one("session")
    assert session["workers"] == workers and len(session["notes"]) == (0 if given in ("", "-n 0") else 1 + bool(asked))
    assert set(run.verdicts().values()) == {"passed"} and run.one("exit")["exit"] == 0


@pytest.mark.parametrize("given", ["-n 2", "-n2", "--numprocesses=2", ""])
def test_numbers_are_workers_without_xdist_too(suite: Suite, given: str) -> None:
    suite.write(test_a=TRIVIAL, pytest__ini="" if given else "[pytest]\naddopts = -n 2\n")
    run = suite.run(*given.split(), workers=0)
    assert run.one("session")["workers"] == 2 and set(run.verdicts().values()) == {"passed"}


def test_a_number_that_is_none(suite: Suite) -> None:
    run = suite.write(test_a=TRIVIAL).run("-n", "x")
    assert run.one("exit")["exit"] == 4 and "'x'" in run.one("exit")["text"]


def test_xdist_auto_and_dist(suite: Suite) -> None:
    needs(suite, "xdist")
    suite.write(test_a=TRIVIAL, pytest__ini="[pytest]\naddopts = -n auto --dist loadscope\n")
    run = suite.run(workers=0)
    assert run.one("session")["workers"] == len(os.sched_getaffinity(0))
    assert set(run.verdicts().values()) == {"passed"}


def test_workers_run_at_the_same_time(suite: Suite) -> None:
    suite.write(test_a="import time\n" + "".join(f"def test_{i}(): time.sleep(0.6)\n" for i in range(4)))
    began = time.monotonic()
    run = suite.run(workers=4)
    assert set(run.verdicts().values()) == {"passed"}
    starts, finishes = run.of("start"), run.of("finish")
    assert starts[-1]["t"] < finishes[0]["t"] and time.monotonic() - began < 10


@pytest.mark.each_python
def test_required_pytest_forked(suite: Suite) -> None:
    """This plugin stands in for the blocked one, but not for another version, nor if it is not installed."""
    installed = subprocess.run([suite.python, "-c", "import pytest_forked"], capture_output=True).returncode == 0
    for wanted, good in (("pytest-forked", installed), ("pytest-forked>=1.0", installed), ("pytest-forked<1.0", False)):
        suite.write(test_a=TRIVIAL, pytest__ini=f"[pytest]\nrequired_plugins = {wanted}\naddopts = --forked\n")
        run = suite.run()
        assert set(run.verdicts().values()) == ({"passed"} if good else set()), run.log
        assert good or (run.one("exit")["exit"] == 4 and "Missing required plugins: pytest-forked" in run.log)


@pytest.mark.each_python
@pytest.mark.parametrize("method", ["signal", "thread"])
@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
def test_pytest_timeout_does_not_fire(suite: Suite, isolation: str, method: str) -> None:
    needs(suite, "pytest_timeout")
    suite.write(
        test_a="import pytest, time\ndef test_1(): time.sleep(1)\n@pytest.mark.timeout(9)\ndef test_2(): pass\n",
        pytest__ini=f"[pytest]\ntimeout = 0.3\ntimeout_method = {method}\nfilterwarnings = error\n",
    )
    run = suite.run(isolation=isolation)
    assert set(run.verdicts().values()) == {"passed"}
    assert [e["timeout"] for e in run.of("item")] == [0.3, 9.0]


COVERED = {
    "pkg": """
        def a(x):
            if x:
                return 1
            return 2
        def b():
            import threading
            t = threading.Thread(target=c); t.start(); t.join()
        def c():
            return 3
        def never():
            return 4
        """,
    "test_c": """
        import pkg, pytest
        @pytest.fixture(scope="session", autouse=True)
        def session():
            yield
            pkg.a(0)
        def test_1(): assert pkg.a(1) == 1
        def test_2(): assert pkg.b() is None
        """,
}


@pytest.mark.parametrize("rc", ["", "[run]\npatch = fork,_exit\n", "[run]\nbranch = true\nparallel = true\n"])
@pytest.mark.parametrize("extra", [[], ["--cov-context=test"], ["-n", "2"]])
def test_coverage_is_the_same(suite: Suite, rc: str, extra: list[str]) -> None:
    needs(suite, "pytest_cov")
    if "-n" in extra:
        needs(suite, "xdist")
    suite.write(**COVERED, covrc=rc)
    rc_args = [f"--cov-config={suite.folder / 'covrc.py'}"] if rc else []
    seen = []
    for isolation, workers in (("inprocess", 1), ("forked", 1), ("forked", 2), ("subprocess", 2)):
        args = ["--cov=pkg", "--cov-report=term-missing", *rc_args, *extra]
        run = suite.run(*args, isolation=isolation, workers=workers)
        assert run.one("exit")["exit"] == 0, run.log
        seen.append([line for line in run.log.splitlines() if line.startswith(("pkg", "TOTAL"))])
        left = [p.name for p in suite.folder.iterdir() if p.name.startswith(".coverage.")]
        assert not left and "Warning" not in run.log, run.log
    assert seen[0] and all(each == seen[0] for each in seen), seen


@pytest.mark.parametrize("capture", ["fd", "sys", "tee-sys", "no"])
def test_capture_methods(suite: Suite, capture: str) -> None:
    suite.write(
        test_a="""
        import os, sys
        OLD = sys.stdout
        def test_1(capsys):
            print("inner")
            assert capsys.readouterr().out == "inner\\n"
        def test_2(capfd):
            os.write(1, b"native")
            assert capfd.readouterr().out == "native"
        def test_3():
            print("python")
            os.write(1, b"fd\\n")
            assert 0
        def test_4(capsys):
            with capsys.disabled(): print("straight to the log")
        """
    )
    run = suite.run(f"--capture={capture}")
    verdicts = run.verdicts()
    assert verdicts.pop("test_a.py::test_3") == "failed" and set(verdicts.values()) == {"passed"}
    sections = dict(map(tuple, run.report("test_3")["sections"]))
    expected = {"fd": "python\nfd\n", "sys": "python\n", "tee-sys": "python\n", "no": None}[capture]
    assert sections.get("Captured stdout call") == expected
    assert run.log.count("straight to the log") == 1 and run.log.count("fd\n") >= 1


def test_crash_with_other_captures(suite: Suite) -> None:
    suite.write(test_a="import os\ndef test_1():\n    print('said')\n    os.abort()\ndef test_2(): pass\n")
    for capture in ("sys", "no"):
        run = suite.run(f"--capture={capture}")
        assert list(run.verdicts().values()) == ["failed", "passed"]


@pytest.mark.each_python
@pytest.mark.parametrize("plugin", ["pytest_run_parallel", "pytest_benchmark", "xdist", "pytest_subtests"])
def test_with_plugins_installed(suite: Suite, plugin: str) -> None:
    needs(suite, plugin)
    run = suite.write(test_a=TRIVIAL).run()
    assert set(run.verdicts().values()) == {"passed"} and run.one("exit")["exit"] == 0


@pytest.mark.each_python
def test_pytest_forked_is_blocked(suite: Suite) -> None:
    """Installed or not: --forked is ours; defined twice, it would be a usage error."""
    run = suite.write(test_a=TRIVIAL, pytest__ini="[pytest]\naddopts = --forked\n").run()
    assert run.one("exit")["exit"] == 0
    if importlib.util.find_spec("pytest_forked"):
        assert "forked" not in " ".join(run.one("session")["plugins"]).replace("pyo3test", "")


def test_faulthandler_timeout_is_off(suite: Suite) -> None:
    suite.write(
        test_a="import time\ndef test_1():\n    time.sleep(0.5)\n    assert 0\n",
        pytest__ini="[pytest]\nfaulthandler_timeout = 0.1\n",
    )
    run = suite.run()
    assert run.verdicts() == {"test_a.py::test_1": "failed"} and "Timeout" not in run.log
    notes = run.one("session")["notes"]
    assert [note for note in notes if "faulthandler_timeout switched off" in note], notes
    notes = suite.write(pytest__ini="[pytest]\nfaulthandler_timeout = 0.0\n").run().one("session")["notes"]
    assert not [note for note in notes if "faulthandler" in note], notes


def test_a_faulthandler_that_ends_pytest_is_a_budget(suite: Suite) -> None:
    """Plain pytest then ends with status 1, so the test must not pass here."""
    settings = "[pytest]\nfaulthandler_timeout = 0.5\nfaulthandler_exit_on_timeout = true\n"
    run = suite.write(test_a=TRIVIAL, pytest__ini=settings).run()
    if tuple(map(int, run.one("session")["pytest"].split(".")[:2])) < (9, 0):
        pytest.skip("this pytest has no faulthandler_exit_on_timeout")
    assert {each["timeout"] for each in run.of("item")} == {0.5}
    assert [note for note in run.one("session")["notes"] if "it is the tests' budget" in note]


@pytest.mark.each_python
def test_the_alarms_of_pytest_timeout_are_off(suite: Suite) -> None:
    needs(suite, "pytest_timeout")
    suite.write(
        test_a="import pytest, time\n@pytest.mark.timeout(0.2)\ndef test_1(): time.sleep(0.5)\n",
        pytest__ini="[pytest]\ntimeout = 30\n",
    )
    run = suite.run()
    assert run.verdicts() == {"test_a.py::test_1": "passed"}
    assert run.one("item")["timeout"] == 0.2
    assert [note for note in run.one("session")["notes"] if note.startswith("pytest-timeout: ")]


def test_coverage_of_a_crash_is_lost(suite: Suite) -> None:
    needs(suite, "pytest_cov")
    suite.write(test_a="import os\ndef test_1(): os.abort()\ndef test_2(): pass\n")
    assert "its coverage is lost" in suite.run("--cov=.").report("test_1")["longrepr"]
    assert "coverage" not in suite.run().report("test_1")["longrepr"]


def test_reruns(suite: Suite) -> None:
    """If a plugin overrides the protocol, as pytest-rerunfailures does, the child records its reports."""
    suite.write(
        conftest="""
        import pytest
        from _pytest.runner import runtestprotocol
        def pytest_runtest_protocol(item, nextitem):
            if item.name != "test_flaky": return None
            for attempt in range(2):
                reports = runtestprotocol(item, nextitem=nextitem, log=False)
                failed = any(report.failed for report in reports)
                if not failed or attempt: break
            for report in reports: item.ihook.pytest_runtest_logreport(report=report)
            return True
        """,
        test_a="COUNT = []\ndef test_flaky():\n    COUNT.append(1)\n    assert len(COUNT) == 2\ndef test_2(): pass\n",
    )
    run = suite.run()
    assert list(run.verdicts().values()) == ["passed", "passed"]
    assert run.reports("test_flaky") == [("setup", "passed"), ("call", "passed"), ("teardown", "passed")]


def test_suite_properties(suite: Suite) -> None:
    suite.write(test_a="def test_1(record_testsuite_property): record_testsuite_property('build', 7)\n")
    run = suite.run()
    assert 'name="build" value="7"' in (run.out / "junit.xml").read_text()


def test_temporary_folders(suite: Suite, tmp_path: Path) -> None:
    """All children share one base folder; a given one is not deleted while siblings run."""
    code = "".join(
        f"def test_{i}(tmp_path):\n    file = tmp_path / 'f'\n    file.touch()\n    time.sleep(0.1)\n"
        "    assert file.exists()\n"
        for i in range(8)
    )
    suite.write(test_a="import time\n" + code)
    base = tmp_path / "base"
    run = suite.run(f"--basetemp={base}", workers=4)
    assert set(run.verdicts().values()) == {"passed"}


def test_coloured_output_is_plain_in_events(suite: Suite) -> None:
    run = suite.write(test_a="def test_1(): assert {'a': 1} == {'a': 2}\n").run("--color=yes")
    report = run.report("test_1")
    assert "\x1b" not in report["longrepr"] + report["message"] and "\x1b" in run.log


def test_usage_error(suite: Suite) -> None:
    run = suite.write(test_a=TRIVIAL).run("--no-such-option")
    assert run.one("exit")["exit"] == 4 and "--no-such-option" in run.log and run.of("session") == []


def test_broken_conftest(suite: Suite) -> None:
    run = suite.write(test_a=TRIVIAL, conftest="raise RuntimeError('broken conftest')\n").run()
    assert run.one("exit")["exit"] == 4 and "broken conftest" in run.log


def test_doctests_and_custom_items(suite: Suite) -> None:
    suite.write(
        mod='def f():\n    """\n    >>> 1 + 1\n    2\n    >>> 2 + 2\n    5\n    """\n',
        test_a="def test_1(): pass\n",
        conftest="""
        import pytest
        class File(pytest.File):
            def collect(self): yield Item.from_parent(self, name="custom")
        class Item(pytest.Item):
            def runtest(self): assert self.path.read_text() == "good"
            def reportinfo(self): return self.path, None, "custom item"
        def pytest_collect_file(file_path, parent):
            if file_path.suffix == ".txt": return File.from_parent(parent, path=file_path)
        """,
        one__txt="good",
        two__txt="bad",
    )
    run = suite.run(
        "--doctest-modules", "--ignore=conftest.py", "-p", "no:run_parallel", "-p", "no:pytest_run_parallel"
    )
    assert run.verdicts() == {
        "mod.py::mod.f": "failed",
        "one.txt::custom": "passed",
        "two.txt::custom": "failed",
        "test_a.py::test_1": "passed",
    }
    assert {tuple(e["junit"]) for e in run.of("item")} == set(run.junit())


def test_settings_are_hidden_from_tests(suite: Suite) -> None:
    run = suite.write(test_a="import os\ndef test_1(): assert not [k for k in os.environ if 'PYO3TEST' in k]\n").run()
    assert set(run.verdicts().values()) == {"passed"}
