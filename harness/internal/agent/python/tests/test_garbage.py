"""What a test leaves in cycles is freed within its process, and its errors are the test's."""

from __future__ import annotations

import subprocess

import pytest
from conftest import Suite

LEFT = """
    import pytest
    class Raises:
        def __del__(self): raise ValueError("from a finalizer")
    def leave(what):
        cycle = [what]
        cycle.append(cycle)
    def test_file(): leave(open(__file__))
    def test_finalizer(): leave(Raises())
    @pytest.fixture
    def value(): return Raises()
    def test_fixture(value): pass
    @pytest.fixture
    def late():
        yield
        leave(Raises())
    def test_teardown(late): pass
    def test_good(): leave([])
    """
LEAVING = ("test_file", "test_finalizer", "test_fixture", "test_teardown")


def version(suite: Suite) -> tuple[int, ...]:
    """Return the version of the suite's pytest."""
    asked = [suite.python, "-c", "import pytest; print(*pytest.version_tuple[:2])"]
    return tuple(map(int, subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()))


@pytest.mark.parametrize("isolation", ["forked", "subprocess"])
def test_errors_of_garbage(suite: Suite, isolation: str) -> None:
    """With warnings as errors, they make the test fail, as in plain pytest; otherwise they are warnings."""
    suite.write(test_a=LEFT)
    names: tuple[str, ...] = LEAVING
    if version(suite) < (8, 4):  # it sees only what is raised within a phase, and this value is dropped after the last
        names = tuple(name for name in LEAVING if name != "test_fixture")
    run = suite.run("-W", "error", isolation=isolation, workers=2)
    assert [e for e, verdict in run.verdicts().items() if verdict == "error"] == [f"test_a.py::{e}" for e in names]
    assert run.verdicts()["test_a.py::test_good"] == "passed", run.log
    assert "unclosed file" in run.report("test_file", "teardown")["longrepr"]
    assert "from a finalizer" in run.report("test_finalizer", "teardown")["longrepr"]
    assert run.junit()[("test_a", "test_file")] == ["error"] and run.one("exit")["exit"] == 1

    run = suite.run("-W", "default", isolation=isolation, workers=2)
    assert set(run.verdicts().values()) == {"passed"}, run.log
    assert len(run.of("warning", category="PytestUnraisableExceptionWarning")) == len(names) - 1
    assert [each["nodeid"] for each in run.of("warning", category="ResourceWarning")] == ["test_a.py::test_file"]


@pytest.mark.parametrize("name", LEAVING)
def test_errors_of_garbage_in_plain_pytest(suite: Suite, name: str) -> None:
    """Plain pytest, for comparison with the test above: since 8.4 it reports them at the session's end."""
    suite.write(test_a=LEFT)
    command = [suite.python, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", f"test_a.py::{name}"]
    done = subprocess.run(command, cwd=suite.folder, capture_output=True, text=True)
    assert (done.returncode != 0) == (version(suite) >= (8, 4)), done.stdout + done.stderr


def test_two_errors_of_one_teardown(suite: Suite) -> None:
    """One report per phase: it has the fixture's own failure, and the garbage as a section."""
    suite.write(
        test_a="""
        import pytest
        class Raises:
            def __init__(self): self.me = self
            def __del__(self): raise ValueError("from a finalizer")
        @pytest.fixture
        def bad():
            yield
            raise RuntimeError("from the fixture")
        def test_1(bad): Raises()
        def test_2():
            Raises()
            assert 0
        """
    )
    run = suite.run("-W", "error")
    assert run.verdicts() == {"test_a.py::test_1": "error", "test_a.py::test_2": "error+failed"}
    report = run.report("test_1", "teardown")
    assert "from the fixture" in report["longrepr"]
    assert [text for name, text in report["sections"] if "from a finalizer" in text], report


def test_without_the_plugin_that_reports(suite: Suite) -> None:
    run = suite.write(test_a=LEFT).run("-W", "error", "-p", "no:unraisableexception")
    assert set(run.verdicts().values()) == {"passed"}, run.log


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
@pytest.mark.parametrize("asked", [True, False])
def test_garbage_of_a_test(suite: Suite, isolation: str, asked: bool) -> None:
    """A forked test frees it before its process exits; one in pytest's own process does so with the option."""
    suite.write(
        test_a="""
        import os
        class Cycle:
            def __init__(self): self.me = self
            def __del__(self): open("freed", "a").write(f"{self.pid}\\n")
        def test_1():
            cycle = Cycle()
            cycle.pid = os.getpid()
        def test_2(): assert os.path.exists("freed")
        """
    )
    run = suite.run(*["--collect-garbage"] * asked, isolation=isolation)
    freed = asked or isolation != "inprocess"
    assert run.verdicts() == {"test_a.py::test_1": "passed", "test_a.py::test_2": "passed" if freed else "failed"}
    if freed:
        assert (suite.folder / "freed").read_text() == f"{run.of('start')[0]['pid']}\n"


def test_errors_of_garbage_in_process(suite: Suite) -> None:
    """With the option the error is the test's own there too; without it, pytest fails at its end."""
    suite.write(test_a=LEFT)
    run = suite.run("-W", "error", "--collect-garbage", "-k", "file or good", isolation="inprocess")
    assert run.verdicts() == {"test_a.py::test_file": "error", "test_a.py::test_good": "passed"}, run.log


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
def test_garbage_that_was_there_before_the_test(suite: Suite, isolation: str) -> None:
    """What a test releases is its garbage, even if a module made it."""
    suite.write(
        test_a="""
        import gc, weakref
        class Cycle:
            def __init__(self): self.me = self
        class Raises(Cycle):
            def __del__(self): raise ValueError("from a finalizer")
        quiet, loud = Cycle(), Raises()
        seen = weakref.ref(quiet)
        def test_collects():
            global quiet
            del quiet
            gc.collect()
            assert seen() is None
        def test_lets_go():
            global loud
            del loud
        def test_after(): pass
        """
    )
    arguments = ["--collect-garbage"] if isolation == "inprocess" else []
    verdicts = suite.run("-W", "error", *arguments, isolation=isolation).verdicts()
    assert verdicts["test_a.py::test_collects"] == verdicts["test_a.py::test_after"] == "passed"
    if version(suite) >= (8, 4):
        assert verdicts["test_a.py::test_lets_go"] == "error"
