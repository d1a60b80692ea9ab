"""Children are forked before their turn, and no test can notice."""

from __future__ import annotations

import json

import pytest
from conftest import Run, Suite

SIBLINGS = """
    import os, signal, time

    def siblings():
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat") as file: text = file.read()
                except OSError: continue
                state, parent = text[text.rindex(")") + 2 :].split()[:2]
                if int(parent) == os.getppid() and int(name) != os.getpid() and state != "Z": found.append(int(name))
        return found

    def wait_for_siblings():
        end = time.monotonic() + 30
        while not siblings():
            assert time.monotonic() < end, "nobody was forked ahead"
            time.sleep(0.01)
        return siblings()
"""


def story(run: Run) -> list[tuple[str, int]]:
    """Return starts and finishes in the order in which they were reported."""
    return [(e["ev"], e["index"]) for e in run.events if e["ev"] in ("start", "finish")]


def test_one_that_is_killed_before_its_turn_is_replaced(suite: Suite) -> None:
    suite.write(
        helper=SIBLINGS,
        test_a="""
        import os, signal, time
        from helper import siblings, wait_for_siblings
        def test_kills():
            for pid in wait_for_siblings(): os.kill(pid, signal.SIGKILL)
            while siblings(): time.sleep(0.01)
        def test_1(): pass
        def test_2(): pass
        """,
    )
    run = suite.run()
    assert set(run.verdicts().values()) == {"passed"}
    assert story(run) == [(kind, index) for index in range(3) for kind in ("start", "finish")]
    assert run.of("killed") == []


@pytest.mark.parametrize("deed", ["assert 0", "os.abort()", "os._exit(0)"])
def test_the_wish_to_stop_comes_first(suite: Suite, deed: str) -> None:
    suite.write(
        helper=SIBLINGS,
        test_a=f"""
        import os
        from helper import wait_for_siblings
        def test_0():
            wait_for_siblings()
            {deed}
        def test_1(): open("ran", "w")
        """,
    )
    run = suite.run("-x")
    assert run.verdicts() == {"test_a.py::test_0": "failed", "test_a.py::test_1": "not run"}
    assert story(run) == [("start", 0), ("finish", 0)] and not (suite.folder / "ran").exists()


def test_a_failure_is_seen_by_the_next_test(suite: Suite) -> None:
    suite.write(
        helper=SIBLINGS,
        test_a="""
        from helper import wait_for_siblings
        def test_0(): wait_for_siblings()
        def test_1():
            wait_for_siblings()
            assert 0
        def test_2(request): assert request.session.testsfailed == 1
        def test_3(request): assert request.session.testsfailed == 1
        """,
    )
    run = suite.run()
    assert list(run.verdicts().values()) == ["passed", "failed", "passed", "passed"]


def test_a_hook_that_hears_reports_is_heard_by_the_next_test(suite: Suite) -> None:
    suite.write(
        conftest="""
        HEARD = []
        def pytest_runtest_logreport(report): HEARD.append(report.nodeid)
        """,
        test_a="""
        import conftest
        """
        + "".join(f"def test_{i}(): assert len(conftest.HEARD) == 3 * {i}\n        " for i in range(5)),
    )
    run = suite.run()
    assert set(run.verdicts().values()) == {"passed"}


def test_a_hook_that_hears_warnings_is_heard_by_the_next_test(suite: Suite) -> None:
    suite.write(
        helper=SIBLINGS,
        conftest="""
        HEARD = []
        def pytest_warning_recorded(warning_message): HEARD.append(str(warning_message.message))
        """,
        test_a="""
        import conftest, warnings
        from helper import wait_for_siblings
        def test_0(): wait_for_siblings()
        def test_1():
            wait_for_siblings()
            warnings.warn("watch out")
        def test_2(): assert conftest.HEARD == ["watch out"]
        def test_3(): assert conftest.HEARD == ["watch out"]
        """,
    )
    run = suite.run()
    assert set(run.verdicts().values()) == {"passed"}


def test_a_thread_that_changes_things_is_seen_by_the_next_test(suite: Suite) -> None:
    suite.write(
        conftest="""
        import os, threading, time
        STATE = {}
        def look():
            while True:
                STATE["seen"] = os.path.exists("told")
                time.sleep(0.001)
        threading.Thread(target=look, daemon=True).start()
        """,
        test_a="""
        import conftest, time
        def test_0():
            open("told", "w")
            time.sleep(1)
        def test_1(): assert conftest.STATE["seen"]
        """,
    )
    run = suite.run()
    assert set(run.verdicts().values()) == {"passed"}


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_than_the_workers_run(suite: Suite, workers: int) -> None:
    suite.write(
        test_a="""
        import json, os, pytest, time
        @pytest.mark.parametrize("number", range(12))
        def test_a(number):
            begun = time.monotonic()
            time.sleep(0.02)
            if number == 4: os.abort()
            if number == 5: assert 0
            with open(f"span{number}", "w") as file: json.dump([begun, time.monotonic()], file)
        """
    )
    run = suite.run(workers=workers)
    words = list(run.verdicts().values())
    assert (words.count("passed"), words.count("failed")) == (10, 2)
    spans = [json.loads(path.read_text()) for path in suite.folder.glob("span*")]
    assert len(spans) == 10
    for begun, _ in spans:
        assert sum(first <= begun < last for first, last in spans) <= workers
    told: set[int] = set()
    most = 0
    for kind, index in story(run):
        (told.add if kind == "start" else told.remove)(index)
        most = max(most, len(told))
    assert most == workers and not told


def test_a_bad_end_is_told_before_the_next_begins(suite: Suite) -> None:
    """The next test need not wait for the report of one that ended well, which its status alone shows."""
    suite.write(
        helper=SIBLINGS,
        conftest="""
        import os, pytest
        def pytest_runtest_setup(item):
            if item.name == "test_1":
                from pyo3test_plugin import coverage_support
                coverage_support.save_in_child = os.abort
        """,
        test_a="""
        from helper import wait_for_siblings
        def test_0(): wait_for_siblings()
        def test_1(): wait_for_siblings()
        def test_2(): open("ran", "w")
        """,
    )
    run = suite.run("-x")
    assert run.verdicts() == {
        "test_a.py::test_0": "passed",
        "test_a.py::test_1": "error",
        "test_a.py::test_2": "not run",
    }
    assert not (suite.folder / "ran").exists()
