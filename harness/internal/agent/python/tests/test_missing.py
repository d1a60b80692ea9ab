"""Arguments that name no test: each is named, with the tests that come nearest."""

from __future__ import annotations

import pytest
from conftest import Suite

TESTS = """
    import pytest
    class TestMap:
        def test_insert(self): pass
        @pytest.mark.parametrize("n", [1, 2])
        def test_remove(self, n): pass
    def test_insert_twice(): pass
    """


@pytest.mark.parametrize(
    ("argument", "near"),
    [
        ("test_a.py::test_insert_twic", ["test_a.py::test_insert_twice", "test_a.py::TestMap::test_insert"]),
        ("test_a.py::TestMap::test_insrt", ["test_a.py::TestMap::test_insert"]),
        ("test_a.py::TestMap::test_remove[3]", ["test_a.py::TestMap::test_remove[2]"]),
        ("test_a.py::zzz", []),
    ],
)
def test_a_name_without_a_test(suite: Suite, argument: str, near: list[str]) -> None:
    run = suite.write(test_a=TESTS, test_b="def test_b(): pass\n").run("test_b.py", argument)
    missing = run.one("missing")
    assert missing["argument"] == argument
    assert missing["near"][: len(near)] == near and bool(missing["near"]) == bool(near)
    assert run.one("exit")["exit"] == 4 and not run.of("item")


def test_two_of_them(suite: Suite) -> None:
    run = suite.write(test_a=TESTS).run("test_a.py::x", "test_a.py::y")
    assert [event["argument"] for event in run.of("missing")] == ["test_a.py::x", "test_a.py::y"]


def test_a_file_that_is_not_there(suite: Suite) -> None:
    run = suite.write(test_a=TESTS).run("test_b.py::test_x")
    assert not run.of("missing") and "test_b.py" in run.one("exit")["text"]
