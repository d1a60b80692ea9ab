"""Iterators given, taken and passed on; containers by protocol."""

from collections.abc import Iterator
from itertools import count, islice

import modern
import pytest


def test_countdown() -> None:
    countdown = modern.Countdown(3)
    assert countdown.__length_hint__() == 3
    assert list(countdown) == [3, 2, 1]
    assert list(countdown) == []


@pytest.mark.parametrize("size, chunks", [(1, [[0], [1], [2]]), (2, [[0, 1], [2]]), (5, [[0, 1, 2]])])
def test_chunks(size: int, chunks: list[list[int]]) -> None:
    assert list(modern.Chunks(range(3), size)) == chunks


def test_chunks_is_lazy() -> None:
    numbers = count()
    assert next(modern.Chunks(numbers, 3)) == [0, 1, 2]
    assert next(numbers) == 3


def test_chunks_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError):
        modern.Chunks([], 0)
    with pytest.raises(TypeError, match="not iterable"):
        modern.Chunks(1, 1)


def test_an_error_of_the_iterator_comes_through() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("broken")

    with pytest.raises(LookupError):
        modern.total(broken())


def test_total_of_an_endless_iterator_cut_short() -> None:
    assert modern.total(islice(count(), 101)) == 5050


def test_invert_in_insertion_order() -> None:
    assert modern.invert({"b": 1, "a": 1, "c": 0}) == {0: ["c"], 1: ["b", "a"]}


def test_grid_is_a_sequence(subtests: pytest.Subtests) -> None:
    grid = modern.Grid(3, 2)
    with subtests.test("length"):
        assert len(grid) == 6
    with subtests.test("membership"):
        assert (2, 1) in grid and (3, 1) not in grid
    for index, cell in ((0, (0, 0)), (5, (2, 1)), (-1, (2, 1))):
        with subtests.test("index", index=index):
            assert grid[index] == cell
    with subtests.test("iteration"):
        assert list(grid) == [(x, y) for y in range(2) for x in range(3)]
    for index in (6, -7):
        with subtests.test("beyond", index=index), pytest.raises(IndexError):
            grid[index]
