"""The `subtests` fixture of pytest 9: one failed subtest fails its test, the others run."""

import pytest


def test_all_pass(subtests: pytest.Subtests) -> None:
    for number in range(3):
        with subtests.test("number", number=number):
            assert number < 3


def test_one_fails(subtests: pytest.Subtests) -> None:
    for number in range(3):
        with subtests.test(number=number):
            assert number != 1


def test_each_outcome(subtests: pytest.Subtests) -> None:
    with subtests.test("passes"):
        print("said in a subtest")
    with subtests.test("fails"):
        raise AssertionError("a failed subtest")
    with subtests.test("skips"):
        pytest.skip("a skipped subtest")
    with subtests.test("is expected to fail"):
        pytest.xfail("an expected failure")
    with subtests.test():
        assert True


def test_subtest_and_test_fail(subtests: pytest.Subtests) -> None:
    with subtests.test("first"):
        raise AssertionError("the subtest failed")
    raise AssertionError("and so did the test")


def test_a_skip_after_a_subtest(subtests: pytest.Subtests) -> None:
    with subtests.test("first"):
        assert True
    pytest.skip("skipped after a subtest")


def test_hostile_names(subtests: pytest.Subtests) -> None:
    for name in ("a/b", "a b", "a_b", "a b", "::", "🦀\n\x1b", ""):
        with subtests.test(name, value="x y/z"):
            assert True
