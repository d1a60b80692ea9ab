"""Tests that kill, hang, flood, close and fork: each harms only itself."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from conftest import Suite, alive, hang_killer

pytestmark = pytest.mark.slow

AFTER = "\ndef test_after(): pass\n"


def test_crash_in_call(suite: Suite) -> None:
    suite.write(
        test_a="""
        import ctypes, os, pytest
        @pytest.mark.xfail
        def test_dies():
            print("python")
            os.write(1, b"native\\n")
            ctypes.string_at(0)
        """
        + "def test_after(): pass\n"
    )
    run = suite.run()
    assert run.reports("test_dies") == [("setup", "passed"), ("call", "failed"), ("teardown", "passed")]
    report = run.report("test_dies")
    assert report["longrepr"] == "crashed: SIGSEGV (11) during call" and report["wasxfail"] is None
    sections = dict(map(tuple, report["sections"]))
    assert sections["Captured stdout call"] == "python\nnative\n"
    assert "Segmentation fault" in sections["Captured stderr call"]
    finish = run.finish("test_dies")
    assert (finish["exit"], finish["signal"], finish["complete"]) == (None, 11, False)
    assert finish["stdout"] == "python\nnative\n" and "Segmentation fault" in finish["stderr"]
    assert run.junit()["test_a", "test_dies"] == ["failure"]
    assert run.verdicts()["test_a.py::test_after"] == "passed"
    assert "1 failed, 1 passed" in run.log


@pytest.mark.parametrize(
    ("phase", "reports", "junit"),
    [
        ("setup", [("setup", "passed"), ("call", "failed"), ("teardown", "passed")], "failure"),
        ("teardown", [("setup", "passed"), ("call", "passed"), ("teardown", "failed")], "error"),
    ],
)
def test_crash_in_a_fixture(suite: Suite, phase: str, reports: list[tuple[str, str]], junit: str) -> None:
    die = "os.kill(os.getpid(), 6)"
    before, after = (die, "pass") if phase == "setup" else ("pass", die)
    suite.write(
        test_a=f"""
        import os, pytest
        @pytest.fixture
        def fixture():
            {before}
            yield
            {after}
        def test_dies(fixture): print("said")
        """
    )
    run = suite.run()
    assert run.reports("test_dies") == reports
    failed = next(e for e in run.of("report") if e["outcome"] == "failed")
    assert failed["longrepr"] == f"crashed: SIGABRT (6) during {phase}"
    assert run.junit()["test_a", "test_dies"] == [junit]


@pytest.mark.parametrize("status", [0, 4])
def test_exit_ends_only_the_test(suite: Suite, status: int) -> None:
    run = suite.write(test_a=f"import os\ndef test_leaves(): os._exit({status})\n" + AFTER).run()
    assert run.report("test_leaves")["longrepr"].startswith(f"its process exited with status {status} during call")
    assert run.finish("test_leaves")["exit"] == status and not run.finish("test_leaves")["complete"]
    assert run.verdicts()["test_a.py::test_after"] == "passed" and run.one("exit")["exit"] == 1


def test_death_after_the_report(suite: Suite) -> None:
    """The process dies while coverage is saved: the test has reported everything, but still fails."""
    suite.write(
        conftest="""
        import os, pytest
        def pytest_runtest_setup(item):
            if item.name == "test_dies":
                from pyo3test_plugin import coverage_support
                coverage_support.save_in_child = os.abort
        """,
        test_a="def test_dies(): pass\n" + AFTER,
    )
    run = suite.run()
    assert run.reports("test_dies") == [("setup", "passed"), ("call", "passed"), ("teardown", "failed")]
    assert run.report("test_dies", "teardown")["longrepr"] == "the test ended, then its process died: SIGABRT (6)"
    finish = run.finish("test_dies")
    assert finish["complete"] and finish["signal"] == 6
    assert run.junit()["test_a", "test_dies"] == ["error"]
    assert run.verdicts()["test_a.py::test_after"] == "passed"


def test_hang_is_killed_and_named(suite: Suite) -> None:
    suite.write(test_a="import time\ndef test_hangs():\n    print('so far')\n    time.sleep(1000)\n" + AFTER)
    run = suite.run(on=hang_killer("test_hangs"))
    assert run.reports("test_hangs") == [("setup", "passed"), ("call", "failed"), ("teardown", "passed")]
    assert run.report("test_hangs")["longrepr"] == "hung: no end after 0.3 s, during call"
    finish = run.finish("test_hangs")
    assert (finish["killed"], finish["signal"], finish["stdout"]) == ("hung", 9, "so far\n")
    assert [p["pid"] for p in run.one("killed")["processes"]] == [finish["pid"]]
    assert run.verdicts()["test_a.py::test_after"] == "passed"
    assert run.junit()["test_a", "test_hangs"] == ["failure"]


def test_the_deaf_and_their_children_die_too(suite: Suite) -> None:
    marker = f"deaf-{os.getpid()}-{time.monotonic_ns()}"
    suite.write(
        test_a=f"""
        import os, signal, subprocess, sys, time
        def test_hangs():
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            code = "import time; time.sleep(1000)"
            subprocess.Popen([sys.executable, "-c", code, "{marker}"])
            subprocess.Popen([sys.executable, "-c", code, "{marker}"], start_new_session=True)
            if os.fork() == 0:  # a daemon by the book: two forks and a session
                os.setsid()
                if os.fork() == 0:
                    os.execv(sys.executable, [sys.executable, "-c", code, "{marker}"])
                os._exit(0)
            os.wait()
            time.sleep(1000)
        """
        + "def test_after(): pass\n"
    )
    run = suite.run(on=hang_killer("test_hangs"))
    assert len(run.one("killed", reason="hung")["processes"]) >= 4
    assert alive(marker) == []
    assert run.verdicts()["test_a.py::test_after"] == "passed"


def test_only_the_named_child_is_killed(suite: Suite) -> None:
    suite.write(
        test_a="""
        import subprocess, sys, time
        def test_hangs(): time.sleep(1000)
        def test_sibling():
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1.5)"], start_new_session=True)
            assert child.wait() == 0
        """
    )
    run = suite.run(on=hang_killer("test_hangs"), workers=2)
    assert run.verdicts() == {"test_a.py::test_hangs": "failed", "test_a.py::test_sibling": "passed"}


def test_leftovers_of_an_ended_test_are_killed(suite: Suite) -> None:
    marker = f"left-{os.getpid()}-{time.monotonic_ns()}"
    suite.write(
        test_a=f"""
        import os, subprocess, sys, time
        CODE = "import time; time.sleep(1000)"
        def test_leaves():
            if os.fork() == 0:  # holds every descriptor that we have, the report's included
                os.setsid()
                if os.fork() == 0:
                    time.sleep(1000)
                os._exit(0)
            os.wait()
            subprocess.Popen([sys.executable, "-c", CODE, "{marker}"], start_new_session=True)
        def test_leaves_and_dies():
            subprocess.Popen([sys.executable, "-c", CODE, "{marker}"], start_new_session=True)
            os.abort()
        def test_after():
            time.sleep(0.5)
            me = str(os.getpid())
            cmdlines = []
            for name in os.listdir("/proc"):
                if name.isdigit():
                    try:
                        with open(f"/proc/{{name}}/cmdline") as file: cmdlines.append(file.read())
                    except OSError: pass
            assert not [line for line in cmdlines if "{marker}" in line]
        """
    )
    began = time.monotonic()
    run = suite.run()
    assert run.verdicts() == {
        "test_a.py::test_leaves": "passed",
        "test_a.py::test_leaves_and_dies": "failed",
        "test_a.py::test_after": "passed",
    }
    # If two tests end at nearly the same time, the leftovers of both may be killed at once.
    assert alive(marker) == [] and sum(len(event["processes"]) for event in run.of("killed", reason="leftover")) == 3
    assert time.monotonic() - began < 20


def test_what_is_left_is_told_with_its_test_and_before_its_end(suite: Suite) -> None:
    suite.write(
        test_a="""
        import subprocess, sys
        def test_leaves():
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        def test_leaves_what_ends_by_itself():
            from multiprocessing import shared_memory  # with a tracker of its own
            memory = shared_memory.SharedMemory(create=True, size=16)
            memory.unlink()
        def test_leaves_a_slow_tracker():
            code = "import sys, time; time.sleep(0.6); sys.exit(); from multiprocessing.resource_tracker import main"
            subprocess.Popen([sys.executable, "-c", code])
        """
    )
    run = suite.run()
    assert set(run.verdicts().values()) == {"passed"}
    told = run.one("killed", reason="leftover")
    assert told["index"] == run.index("test_leaves") and len(told["processes"]) == 1
    assert "time.sleep(1000)" in told["processes"][0]["cmd"]
    assert run.events.index(told) < run.events.index(run.finish("test_leaves"))


def test_what_is_left_is_laid_at_the_right_door(suite: Suite) -> None:
    """Many tests end at the same time, and some have left a program in a session of its own."""
    suite.write(
        test_a="""
        import subprocess, sys, time, pytest
        @pytest.mark.parametrize("n", range(40))
        def test_n(n):
            if n % 4 == 0:
                code = "import time; time.sleep(1000)"
                subprocess.Popen([sys.executable, "-c", code, f"n-{n}-"], start_new_session=True)
        """
    )
    run = suite.run(workers=8)
    assert set(run.verdicts().values()) == {"passed"}
    told: dict[int, list[Any]] = {index: [] for index in range(0, 40, 4)}
    for event in run.of("killed", reason="leftover"):
        told.setdefault(event["index"], []).extend(process["cmd"] for process in event["processes"])
    for index, commands in told.items():
        assert len(commands) == 1 and commands[0].endswith(f"n-{index}-"), (index, commands, told)


def test_pytests_own_daemon_is_spared_until_the_end(suite: Suite) -> None:
    marker = f"service-{os.getpid()}-{time.monotonic_ns()}"
    suite.write(
        conftest=f"""
        import os, sys
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(1000)", "{marker}"])
            os._exit(0)
        os.wait()
        """,
        test_a=f"""
        import os
        def cmdline(pid):
            try: return open(f"/proc/{{pid}}/cmdline").read()
            except OSError: return ""  # it has ended meanwhile
        def running(): return [name for name in os.listdir("/proc") if name.isdigit() and "{marker}" in cmdline(name)]
        def test_1(): pass
        def test_2(): assert len(running()) == 1
        """,
    )
    run = suite.run()
    assert run.verdicts()["test_a.py::test_2"] == "passed"
    assert alive(marker) == []


@pytest.mark.parametrize(
    "deed",
    [
        "os.closerange(3, 4096)",
        "os.closerange(0, 4096)",
        "scribble()",
        "os.kill(0, 9)",
        "os.killpg(os.getpgrp(), 15)",
    ],
)
def test_accidents_cost_one_test(suite: Suite, deed: str) -> None:
    suite.write(
        test_a=f"""
        import os
        def scribble():
            for fd in range(3, 1024):
                try: os.write(fd, b"\\0garbage\\n" * 50)
                except OSError: pass
        def test_bad():
            try: {deed}
            except OSError: pass
        """
        + "def test_after(): pass\n"
    )
    for workers in (1, 2):
        run = suite.run(workers=workers)
        assert run.verdicts() == {"test_a.py::test_bad": "failed", "test_a.py::test_after": "passed"}
        assert run.one("exit")["exit"] == 1 and run.of("garbage") == []


def test_write_to_every_descriptor_spares_foreign_files(suite: Suite) -> None:
    """The report's descriptor is closed and a file gets its number: the plugin writes nothing to that file."""
    suite.write(
        test_a="""
        import os
        def test_bad():
            os.closerange(3, 4096)
            target = os.open("data", os.O_WRONLY | os.O_CREAT)
            for fd in range(3, 1024):
                if fd != target: os.dup2(target, fd)
        """
    )
    run = suite.run()
    assert run.verdicts()["test_a.py::test_bad"] == "failed"
    assert (suite.folder / "data").read_bytes() == b""


def test_a_test_that_forks_and_both_return(suite: Suite) -> None:
    run = suite.write(test_a="import os\ndef test_forks(): os.fork()\n" + AFTER).run()
    assert run.reports("test_forks") == [("setup", "passed"), ("call", "passed"), ("teardown", "passed")]
    assert run.verdicts()["test_a.py::test_after"] == "passed"


def test_killed_parent(suite: Suite) -> None:
    """A test kills pytest itself: the agent reports it, and no process is left."""
    suite.write(
        test_a="import os, time\ndef test_kills():\n    os.kill(os.getppid(), 9)\n    time.sleep(1000)\n" + AFTER
    )
    run = suite.run()
    end = run.one("exit")
    assert (end["exit"], end["signal"], end["memory"]) == (None, 9, "") and "collected 2 items" in end["text"]
    assert run.of("finished") == [] and run.of("finish") == []
    assert alive(str(suite.folder.parent / "out")) == []


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
def test_flood(suite: Suite, isolation: str) -> None:
    suite.write(
        test_a="""
        import sys
        def test_floods():
            for _ in range(50): sys.stdout.write("\\u20ac" * (1 << 20))
            assert 0, "x" * 5_000_000
        def test_long(): assert 0, "y" * 300_000
        """
    )
    run = suite.run(isolation=isolation)
    report = run.report("test_floods")
    (name, text) = report["sections"][0]
    assert name == "Captured stdout call" and "bytes left out" in text and text.startswith("\u20ac")
    assert "bytes left out" in report["longrepr"] and report["longrepr"].endswith("AssertionError")
    assert len(run.report("test_long")["longrepr"]) > 300_000


def test_odd_report_attributes(suite: Suite) -> None:
    """What a plugin adds to reports need not be a plain builtin."""
    suite.write(
        conftest="""
        import pytest
        class Odd:
            def __str__(self): raise RuntimeError("no text")
        @pytest.hookimpl(hookwrapper=True)
        def pytest_runtest_makereport(item, call):
            report = (yield).get_result()
            report.odd, report.loop = Odd(), []
            report.loop.append(report.loop)
            report.user_properties.append(("odd", Odd()))
        """,
        test_a="def test_1(): pass\n",
    )
    run = suite.run()
    assert run.reports("test_1") == [("setup", "passed"), ("call", "passed"), ("teardown", "passed")]
    assert "whose text raised RuntimeError" in run.report("test_1")["properties"][0][1]


def test_a_hook_that_raises_in_the_child(suite: Suite) -> None:
    suite.write(
        conftest="""
        def pytest_runtest_logreport(report): pass
        def pytest_runtest_makereport(item, call):
            if item.name == "test_bad" and call.when == "call": raise RuntimeError("hook is broken")
        """,
        test_a="def test_bad(): pass\n" + AFTER,
    )
    run = suite.run()
    assert "hook is broken" in run.report("test_bad")["longrepr"]
    assert run.verdicts()["test_a.py::test_after"] == "passed"
