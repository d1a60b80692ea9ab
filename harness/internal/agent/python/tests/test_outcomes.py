"""Every outcome that pytest can give is reported by the forked runner and in-process alike."""

from __future__ import annotations

import pytest
from conftest import Suite

OUTCOMES = """
    import os
    import sys
    import unittest
    import warnings

    import pytest

    def test_pass(record_property):
        record_property("plain", 1)
        record_property("odd", object)
        print("out")
        print("err", file=sys.stderr)
        os.write(1, b"native\\n")
        print("out again")
        warnings.warn("watch out", UserWarning)

    def test_fail():
        print("before")
        assert [1, 2] == [1, 3]

    @pytest.mark.skip(reason="not today")
    def test_skip_mark(): pass

    def test_skip_inside(): pytest.skip("inside")

    @pytest.mark.xfail(reason="known")
    def test_xfail(): assert 0

    @pytest.mark.xfail
    def test_xpass(): pass

    @pytest.mark.xfail(strict=True)
    def test_xpass_strict(): pass

    @pytest.fixture
    def bad_setup(): raise ValueError("setup")

    @pytest.fixture
    def bad_teardown():
        yield
        raise ValueError("teardown")

    def test_setup_error(bad_setup): pass
    def test_teardown_error(bad_teardown): pass
    def test_both(bad_teardown): assert 0
    def test_system_exit(): sys.exit(3)

    @pytest.mark.parametrize("value", ["a b", "x/y", "[z]", "\\x1b", "\\u00e9", "::"])
    def test_names(value): pass

    class TestClass:
        def test_method(self): pass

    class TestCase(unittest.TestCase):
        def test_unit(self): self.assertEqual(1, 1)
        @unittest.skip("unit")
        def test_unit_skip(self): pass
"""

EXPECTED = {
    "test_pass": "passed",
    "test_fail": "failed",
    "test_skip_mark": "skipped",
    "test_skip_inside": "skipped",
    "test_xfail": "xfailed",
    "test_xpass": "xpassed",
    "test_xpass_strict": "failed",
    "test_setup_error": "error",
    "test_teardown_error": "error",
    "test_both": "error+failed",
    "test_system_exit": "failed",
    "TestClass::test_method": "passed",
    "TestCase::test_unit": "passed",
    "TestCase::test_unit_skip": "skipped",
}


@pytest.mark.parametrize(
    ("isolation", "workers"), [("forked", 1), ("forked", 3), ("subprocess", 1), ("subprocess", 3), ("inprocess", 1)]
)
def test_each_outcome(suite: Suite, isolation: str, workers: int) -> None:
    run = suite.write(test_a=OUTCOMES).run(isolation=isolation, workers=workers)
    verdicts = run.verdicts()
    assert {name: verdicts[f"test_a.py::{name}"] for name in EXPECTED} == EXPECTED
    assert all(word == "passed" for nodeid, word in verdicts.items() if "test_names" in nodeid)
    assert run.one("exit")["exit"] == 1 and run.one("finished")["exitstatus"] == 1
    assert run.events.index(run.one("finished")) > max(i for i, e in enumerate(run.events) if e["ev"] == "finish")
    for item in run.of("item"):
        finish = run.one("finish", index=item["index"])
        assert (finish["exit"], finish["signal"], finish["complete"], finish["killed"]) == (0, None, True, None)


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
def test_details_of_a_report(suite: Suite, isolation: str) -> None:
    run = suite.write(test_a=OUTCOMES).run(isolation=isolation)
    passed = run.report("::test_pass")
    assert dict(map(tuple, passed["sections"])) == {
        "Captured stdout call": "out\nnative\nout again\n",
        "Captured stderr call": "err\n",
    }
    assert passed["properties"] == [["plain", "1"], ["odd", "<class 'object'>"]]
    failed = run.report("::test_fail")
    line = next(n for n, text in enumerate((suite.folder / "test_a.py").read_text().split("\n"), 1) if "[1, 3]" in text)
    assert (failed["path"], failed["line"]) == (str(suite.folder / "test_a.py"), line)
    assert failed["message"].startswith("assert [1, 2] == [1, 3]")
    assert "At index 1 diff: 2 != 3" in failed["longrepr"] and "\x1b" not in failed["longrepr"]
    assert run.report("::test_skip_inside")["message"] == "inside"
    assert run.report("::test_xfail")["wasxfail"] == "known"
    warning = run.one("warning", text="watch out")
    assert warning["category"] == "UserWarning" and warning["nodeid"] == "test_a.py::test_pass"
    assert "UserWarning: watch out" in run.log


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
def test_junit_has_the_same_tests(suite: Suite, isolation: str) -> None:
    run = suite.write(test_a=OUTCOMES).run("-p", "no:cacheprovider", isolation=isolation)
    words = {
        "passed": ["passed"],
        "xpassed": ["passed"],
        "failed": ["failure"],
        "error": ["error"],
        "error+failed": ["failure", "error"],
        "skipped": ["skipped"],
        "xfailed": ["skipped"],
    }
    verdicts = run.verdicts()
    expected = {tuple(e["junit"]): words[verdicts[e["nodeid"]]] for e in run.of("item")}
    assert run.junit() == expected


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
def test_subtests(suite: Suite, isolation: str) -> None:
    suite.write(
        test_a="""
        def test_some(subtests):
            for i in range(3):
                with subtests.test("part", i=i):
                    assert i != 1
        """
    )
    run = suite.run(isolation=isolation)
    if "fixture 'subtests' not found" in run.log:
        pytest.skip("this pytest has no subtests")
    parts = [(e["subtest"]["description"], e["outcome"]) for e in run.of("report") if e["subtest"]]
    assert parts == [("[part] (i=0)", "passed"), ("[part] (i=1)", "failed"), ("[part] (i=2)", "passed")]
    last = [e for e in run.of("report", when="call") if e["subtest"] is None]
    if "contains 1 failed subtest" in run.log:  # pytest's own; the plugin leaves the test itself passed
        assert [(e["outcome"], e["longrepr"]) for e in last] == [("failed", "contains 1 failed subtest")]


def test_order_and_selection(suite: Suite) -> None:
    suite.write(test_a="def test_0(): pass\ndef test_1(): pass\ndef test_2(): pass\ndef test_3(): pass\n")
    for isolation in ("forked", "subprocess", "inprocess"):
        run = suite.run(order=lambda names: [3, 0], isolation=isolation)
        assert [e["index"] for e in run.of("start")] == [3, 0]
        assert "2 passed, 2 deselected" in run.log
        assert run.one("exit")["exit"] == 0


def test_deselected_by_pytest(suite: Suite) -> None:
    run = suite.write(test_a="def test_0(): pass\ndef test_1(): pass\ndef test_2(): pass\n").run("-k", "test_1")
    assert (run.one("collected")["count"], run.one("collected")["deselected"]) == (1, 2)
    run = suite.run("-k", "none")
    assert (run.one("collected")["count"], run.one("collected")["deselected"]) == (0, 3)


def test_nothing_chosen(suite: Suite) -> None:
    run = suite.write(test_a="def test_0(): pass\n").run(order=lambda names: [])
    assert run.of("start") == [] and run.one("exit")["exit"] == 5


def test_items(suite: Suite) -> None:
    suite.write(
        test_a="""
        import pytest
        @pytest.mark.timeout(7)
        def test_marked(): pass
        class TestX:
            @pytest.mark.parametrize("v", ["p/q\\x1b"])
            def test_y(self, v): pass
        """,
        pytest__ini="[pytest]\nmarkers = timeout: seconds\n",
    )
    run = suite.run("--junitprefix=pre")
    first, second = run.of("item")
    assert (first["timeout"], second["timeout"]) == (7.0, None)
    assert first["path"] == str(suite.folder / "test_a.py") and first["line"] in (3, 4)
    assert second["junit"][0] == "pre.test_a.TestX" and "\x1b" not in second["junit"][1]
    assert set(run.junit()) == {tuple(first["junit"]), tuple(second["junit"])}


def test_collection_errors_and_skips(suite: Suite) -> None:
    suite.write(
        test_a="import no_such_module_here\n",
        test_b='import pytest\npytest.skip("whole", allow_module_level=True)\n',
        test_c="def test_c(): pass\n",
        test_d="def broken(:\n",
    )
    run = suite.run()
    errors = {e["nodeid"]: e for e in run.of("collect-error")}
    assert set(errors) == {"test_a.py", "test_d.py"}
    assert "no_such_module_here" in errors["test_a.py"]["longrepr"] and errors["test_a.py"]["line"] == 1
    assert errors["test_d.py"]["path"] == str(suite.folder / "test_d.py") and errors["test_d.py"]["line"] == 1
    skip = run.one("collect-skip")
    assert (skip["nodeid"], skip["reason"], skip["line"]) == ("test_b.py", "whole", 2)
    assert run.verdicts() == {"test_c.py::test_c": "passed"}
    assert {"test_a.py", "test_b.py", "test_c.py", "test_d.py"} <= {e["nodeid"] for e in run.of("collecting")}
    assert run.one("exit")["exit"] == 1


IMPORTS = "import pytest, time\n"
OTHERS = "".join(f"def test_x{i}(): time.sleep(0.1)\n" for i in range(20))
"""On a busy machine, another worker runs many short tests before the end of one that fails is known."""


@pytest.mark.parametrize("workers", [1, 2])
def test_maxfail_stops(suite: Suite, workers: int) -> None:
    suite.write(test_a=IMPORTS + "def test_0(): pass\ndef test_1(): assert 0\n" + OTHERS)
    run = suite.run("-x", workers=workers)
    assert "failed" in run.verdicts().values() and len(run.of("start")) < 15
    assert len(run.of("start")) == len(run.of("finish"))
    assert "stopping after 1 failures" in run.log


@pytest.mark.parametrize("isolation", ["forked", "inprocess"])
def test_forked_option_and_mark(suite: Suite, isolation: str) -> None:
    suite.write(
        test_a="""
        import os
        import pytest
        HERE = os.getpid()
        def test_plain(): assert os.getpid() == HERE
        @pytest.mark.forked
        def test_marked(): assert os.getpid() != HERE
        """,
        pytest__ini="[pytest]\naddopts = --forked --strict-markers\n",
    )
    run = suite.run(isolation=isolation)
    plain = "passed" if isolation == "inprocess" else "failed"
    assert run.verdicts() == {"test_a.py::test_plain": plain, "test_a.py::test_marked": "passed"}
    assert bool(run.one("session")["notes"]) == (isolation == "inprocess")


def test_each_child_sets_up_and_tears_down(suite: Suite) -> None:
    suite.write(
        test_a="""
        import os
        import pytest
        @pytest.fixture(scope="session")
        def service():
            with open("log", "a") as log: log.write(f"up {os.getpid()}\\n")
            yield os.getpid()
            with open("log", "a") as log: log.write(f"down {os.getpid()}\\n")
        def test_1(service): assert service == os.getpid()
        def test_2(service): assert service == os.getpid()
        """
    )
    run = suite.run()
    assert set(run.verdicts().values()) == {"passed"}
    assert [line.split()[0] for line in (suite.folder / "log").read_text().splitlines()] == ["up", "down", "up", "down"]


@pytest.mark.parametrize(("raising", "status"), [("KeyboardInterrupt", 2), ("pytest.exit('enough', returncode=9)", 9)])
@pytest.mark.parametrize("workers", [1, 2])
def test_interrupts_stop_the_session(suite: Suite, raising: str, status: int, workers: int) -> None:
    code = raising if raising.startswith("pytest") else f"raise {raising}"
    suite.write(test_a=IMPORTS + f"def test_1(): {code}\n" + OTHERS)
    run = suite.run(workers=workers)
    assert run.one("exit")["exit"] == status
    finish = run.finish("test_1")
    assert not finish["complete"] and raising.split("(")[0] in finish["interrupt"]
    assert len(run.of("start")) == len(run.of("finish")) < 10


def test_collect_only(suite: Suite) -> None:
    run = suite.write(test_a="def test_1(): pass\n").run("--collect-only", "-q")
    assert run.one("collected")["count"] == 1 and run.of("start") == [] and run.one("exit")["exit"] == 0


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
@pytest.mark.parametrize("option", ["--setup-show", "--setup-only", "--setup-plan"])
def test_options_that_look_at_setups(suite: Suite, option: str, isolation: str) -> None:
    """For the Go side, a test that was only set up has not run."""
    run = suite.write(test_a="def test_1(): pass\n").run(option, isolation=isolation)
    phases = ["setup", "call", "teardown"] if option == "--setup-show" else ["setup", "teardown"]
    assert run.reports("test_1") == [(phase, "passed") for phase in phases]
