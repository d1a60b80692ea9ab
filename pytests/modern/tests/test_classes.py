"""Values, state, inheritance, enums and garbage collection."""

import math
import pickle
import weakref
from collections.abc import Callable

import modern
import pytest


def test_point_is_a_value() -> None:
    assert modern.Point(1, 2) == modern.Point(1, 2) != modern.Point(2, 1)
    assert len({modern.Point(1, 2), modern.Point(1, 2)}) == 1
    assert repr(modern.Point(1) + modern.Point(y=2)) == "Point(1, 2)"
    assert modern.Point.ORIGIN == modern.Point()


def test_point_is_frozen() -> None:
    with pytest.raises(AttributeError):
        modern.Point().x = 1


@pytest.mark.parametrize("text, message", [("1;2", "no comma"), ("1,two", "invalid digit"), ("1,", "empty string")])
def test_point_from_bad_text(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        modern.Point.from_text(text)


def test_point_from_text() -> None:
    assert modern.Point.from_text("3, -4") == modern.Point(3, -4)


@pytest.mark.xfail(raises=TypeError, reason="a #[pyclass] has no __reduce__ of its own")
def test_point_can_be_pickled() -> None:
    pickle.dumps(modern.Point(1, 2))


def test_account_checks_what_it_is_set_to() -> None:
    account = modern.Account(10)
    account.balance = 5
    with pytest.raises(ValueError, match="below zero"):
        account.balance = -1
    assert account.balance == 5


def test_account_is_restored_after_a_failed_block() -> None:
    account = modern.Account(10)
    with pytest.raises(KeyError), account:
        account.balance = 3
        raise KeyError
    assert account.balance == 10


def test_account_refuses_a_second_borrow() -> None:
    account = modern.Account(10)
    with pytest.raises(RuntimeError, match="borrowed"):
        account.update(lambda _: account.balance)
    account.update(lambda balance: balance * 2)
    assert account.balance == 20


def test_overrides_in_python_are_heard_by_rust() -> None:
    class Puppy(modern.Dog):
        def sound(self) -> str:
            return "wiff, not " + super().sound()

    assert [animal("Rex").speak() for animal in (modern.Animal, modern.Dog, Puppy)] == [
        "Rex says ...",
        "Rex says woof",
        "Rex says wiff, not woof",
    ]


def test_simple_enum() -> None:
    assert modern.Color.DARK_GREEN != modern.Color.RED
    assert int(modern.Color.DARK_GREEN) == 1
    assert repr(modern.Color.RED) == "Color.RED"


def test_enum_with_data_in_a_match() -> None:
    match modern.Shape.Rectangle(width=2, height=3):
        case modern.Shape.Circle():
            pytest.fail("a rectangle is no circle")
        case modern.Shape.Rectangle(width=width, height=height):
            assert (width, height) == (2, 3)
    assert modern.Shape.Circle(2).area() == pytest.approx(4 * math.pi)


def test_a_cycle_through_rust_is_collected(collect_after: Callable[[], int]) -> None:
    node = modern.Node()
    node.next = [node]
    gone = weakref.ref(node)
    del node
    assert gone() is not None
    collect_after()
    assert gone() is None
