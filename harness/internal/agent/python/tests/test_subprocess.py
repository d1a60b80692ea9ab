"""A fresh interpreter for each test: what fork itself causes cannot happen, and all else is as with forked tests."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

import pytest
from conftest import AGENT, Suite, Talk

pytestmark = pytest.mark.slow

FRESH: dict[str, Any] = {"isolation": "subprocess"}


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_of_the_import_are_there(suite: Suite, workers: int) -> None:
    """A pool that a module starts when it is imported is dead in a forked child, but alive here."""
    suite.write(
        pool="""
        from concurrent.futures import ThreadPoolExecutor
        POOL = ThreadPoolExecutor(1)
        POOL.submit(int).result()
        """,
        conftest="import pool\n",
        test_a="""
        import os, pool, pytest, threading
        HERE = os.getpid()
        @pytest.mark.parametrize("n", range(5))
        def test_pool(n): assert pool.POOL.submit(os.getpid).result() == HERE == os.getpid()
        def test_threads(): assert threading.active_count() == 2
        """,
    )
    run = suite.run(**FRESH, workers=workers)
    assert list(run.verdicts().values()) == ["passed"] * 6
    assert {event["threads"] for event in run.of("start")} == {1}
    assert len({event["pid"] for event in run.of("start")}) == 6


def test_nothing_of_the_project_is_there_before(suite: Suite) -> None:
    """Each test does its own imports, and finds what pytest found: path, arguments, environment, folders."""
    suite.write(
        conftest="""
        import os
        with open("imports", "a") as file: file.write(f"{os.getpid()}\\n")
        """,
        test_a="""
        import os, sys, pytest
        @pytest.fixture(scope="session")
        def service():
            with open("log", "a") as log: log.write("up\\n")
            yield
            with open("log", "a") as log: log.write("down\\n")
        def test_1(service, tmp_path):
            (tmp_path / "x").write_text("1")
            os.environ["LEFT"] = "1"
        def test_2(service, tmp_path, cache):
            assert "LEFT" not in os.environ and "PYO3TEST_PLUGIN" not in os.environ
            assert (tmp_path.parent / "test_10" / "x").read_text() == "1"
            assert os.path.basename(sys.argv[0]) == "pytest"
        """,
    )
    run = suite.run(**FRESH)
    assert list(run.verdicts().values()) == ["passed"] * 2
    assert len(set((suite.folder / "imports").read_text().split())) == 3
    assert (suite.folder / "log").read_text().split() == ["up", "down"] * 2
    assert run.log.count("test session starts") == 1
    assert (run.out / "junit.xml").read_text().count("<testcase ") == 2


def test_ids_that_are_not_the_same_twice(suite: Suite) -> None:
    """Parameters named by their address, two tests with one id: each is found by its place."""
    suite.write(
        test_a="""
        import pytest
        @pytest.mark.parametrize("x", [1, 2, 3], ids=[str(id(object())) + str(n) for n in "abc"])
        def test_address(x, record_property): record_property("x", x)
        class Test:
            @pytest.mark.parametrize("x", [1, 2])
            def test_address(self, x): assert x == 1
        """
    )
    run = suite.run("--keep-duplicates", "test_a.py", "test_a.py", **FRESH)
    assert [e["exit"] for e in run.of("finish")] == [0] * 10
    values = [e["properties"][0][1] for e in run.of("report") if e["when"] == "teardown" and e["properties"]]
    assert values == ["1", "2", "3"] * 2


@pytest.mark.parametrize(
    ("code", "words"),
    [("pass", "did not find the test in a fresh interpreter"), ("raise RuntimeError('only once')", "only once")],
)
def test_one_that_is_not_there_again(suite: Suite, code: str, words: str) -> None:
    """It fails and says why; the others run."""
    suite.write(
        test_a=f"""
        import os
        if os.path.exists("seen"):
            {code}
        else:
            open("seen", "w").close()
            def test_gone(): pass
        """,
        test_b="def test_there(): pass\n",
    )
    run = suite.run(**FRESH)
    assert run.verdicts() == {"test_a.py::test_gone": "failed", "test_b.py::test_there": "passed"}
    assert words in next(e["longrepr"] for e in run.of("report") if e["outcome"] == "failed")


def test_a_hang_costs_one_test(suite: Suite) -> None:
    def killer(talk: Talk, event: dict[str, Any]) -> None:
        if event["ev"] == "phase" and event["when"] == "call" and event.get("index") == 0:
            talk.say(cmd="kill", pid=event["pid"], reason="hung", message="hung: no end")
        if event["ev"] == "start" and event["index"] == 0:
            talk.say(cmd="kill", pid=event["pid"], reason="hung", message="hung: no end")

    suite.write(test_a="import time\ndef test_hangs(): time.sleep(1000)\ndef test_passes(): pass\n")
    run = suite.run(**FRESH, on=killer)
    assert run.verdicts() == {"test_a.py::test_hangs": "failed", "test_a.py::test_passes": "passed"}
    assert run.of("finish")[0]["killed"] == "hung"


@pytest.mark.parametrize("workers", [1, 3])
def test_the_template_is_started_again(suite: Suite, workers: int) -> None:
    """A test that ends it costs no other test its result, and gets its own correct result."""
    suite.write(
        test_a="""
        import contextlib, os, pathlib, pytest, signal, time
        def end_template():  # where another test was faster, the parent is the agent by now
            parent = os.getppid()
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if "pyo3test_plugin.template" in pathlib.Path(f"/proc/{parent}/cmdline").read_text():
                    os.kill(parent, signal.SIGKILL)
        def test_0(): time.sleep(1)
        def test_1(): end_template()
        def test_2(): end_template(); assert 0
        def test_3(): end_template(); os._exit(3)
        @pytest.mark.parametrize("n", range(6))
        def test_n(n): pass
        """
    )
    run = suite.run(**FRESH, workers=workers)
    assert list(run.verdicts().values()) == ["passed"] * 2 + ["failed"] * 2 + ["passed"] * 6
    assert run.finish("test_3")["exit"] == 3 and run.one("exit")["exit"] == 1
    assert len({event["pid"] for event in run.of("start")}) == 10


@pytest.mark.parametrize("workers", [1, 3])
def test_a_child_that_nobody_knows(suite: Suite, workers: int) -> None:
    """The template dies between fork and answer: its child runs no test, and does not affect the others."""
    suite.write(
        conftest="""
        import pyo3test_plugin.fresh_interpreters as fresh
        DYING = '''
        import os, signal
        real = os.fork
        def fork():
            pid = real()
            if pid:
                try: os.close(os.open("once", os.O_CREAT | os.O_EXCL))
                except FileExistsError: return pid
                os.kill(os.getpid(), signal.SIGKILL)
            return pid
        os.fork = fork
        '''
        fresh.PROGRAM = DYING + fresh.PROGRAM
        """,
        test_a="""
        import pathlib, pytest
        @pytest.mark.parametrize('n', range(4))
        def test_n(n): pathlib.Path(f'ran-{n}').touch(exist_ok=False)
        """,
    )
    run = suite.run(**FRESH, workers=workers)
    assert list(run.verdicts().values()) == ["passed"] * 4
    assert {event["exit"] for event in run.of("finish")} == {0}


def test_without_an_agent_the_end_of_an_orphan_is_not_known(suite: Suite) -> None:
    """So its test fails, and no other."""
    suite.write(
        test_a="""
        import os, signal
        def test_1(): pass
        def test_2(): os.kill(os.getppid(), signal.SIGKILL)
        def test_3(): pass
        """
    )
    plugins = ["-p", "no:forked", "-p", "pyo3test_plugin.hooks"]
    done = subprocess.run(
        [suite.python, "-m", "pytest", *plugins, "--forked-subprocess", "--junitxml=x.xml"],
        cwd=suite.folder,
        env={**os.environ, "PYTHONPATH": str(AGENT.parent / "site")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "that fresh interpreters are forked from ended" in done.stdout, done.stdout
    assert re.search("3 passed, 1 error|1 failed, 2 passed", done.stdout), "it was over when it was ended, or not"


@pytest.mark.parametrize("how", ["addopts", "argument"])
def test_the_option(suite: Suite, how: str) -> None:
    suite.write(
        pytest__ini="[pytest]\n" + "addopts = --forked --forked-subprocess\n" * (how == "addopts"),
        test_a="import os\nHERE = os.getpid()\ndef test_1(): assert os.getpid() == HERE\n",
    )
    run = suite.run(*(["--forked-subprocess"] if how == "argument" else []))
    assert run.verdicts() == {"test_a.py::test_1": "passed"}
    assert run.one("session")["notes"] == ["--forked-subprocess: each test has a fresh interpreter"]


def test_choices_are_made_once(suite: Suite) -> None:
    """-x, --lf, -k and an order of their own: what pytest has chosen is what runs."""
    suite.write(
        pytest__ini="[pytest]\naddopts = --lf -k 'not three' --maxfail=1\n",
        test_a="".join(f"def test_{n}(): assert {n % 2}\n" for n in range(4)) + "def test_three(): pass\n",
    )
    run = suite.run(**FRESH, order=lambda names: [1, 3, 0, 2])
    passed = {"test_a.py::test_1": "passed", "test_a.py::test_3": "passed"}
    assert run.verdicts() == {**passed, "test_a.py::test_0": "failed", "test_a.py::test_2": "not run"}
    run = suite.run(**FRESH)
    assert run.verdicts() == {"test_a.py::test_0": "failed"}
