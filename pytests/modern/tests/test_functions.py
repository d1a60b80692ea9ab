"""Signatures, conversions, warnings and output."""

import modern
import pytest


def test_add() -> None:
    assert modern.add(40, 2) == 42


@pytest.mark.parametrize("a, b", [(2**63 - 1, 1), (-(2**63), -1), (2**63, 0)])
def test_add_refuses_what_does_not_fit(a: int, b: int) -> None:
    with pytest.raises(OverflowError):
        modern.add(a, b)


def test_add_names_the_wrong_argument() -> None:
    with pytest.raises(TypeError, match="'b'"):
        modern.add(1, "2")


def test_greet_defaults_and_keywords() -> None:
    assert modern.greet("Ada") == "Hello, Ada!"
    assert modern.greet(greeting="Bye", name="Ada", shout=True) == "BYE, ADA!"


def test_greet_wants_shout_by_name() -> None:
    with pytest.raises(TypeError, match="positional"):
        modern.greet("Ada", "Bye", True)


def test_signature_is_visible_from_python() -> None:
    assert modern.greet.__text_signature__ == '(name, greeting="Hello", *, shout=False)'


def test_mean_of_any_number() -> None:
    assert modern.mean(1, 2.5, 4) == pytest.approx(2.5)
    with pytest.raises(ValueError, match="nothing"):
        modern.mean()


def test_tally_counts_characters_not_bytes() -> None:
    assert modern.tally("añña🦀") == {"a": 2, "ñ": 2, "🦀": 1}


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "nothing"),
        (True, "flag true"),
        (7, "number 7"),
        ("été", "text of 3"),
        ([1, 2], "list of 2"),
    ],
    ids=["none", "bool before int", "int", "str", "list"],
)
def test_describe(value: object, text: str) -> None:
    assert modern.describe(value) == text


def test_apply_passes_arguments_and_exceptions_through() -> None:
    assert modern.apply(max, 3, 9, 4) == 9
    with pytest.raises(ZeroDivisionError):
        modern.apply(lambda: 1 // 0)


@pytest.mark.parametrize("n, value", [(0, 0), (1, 1), (10, 55), (93, 12200160415121876738)])
def test_fibonacci(n: int, value: int) -> None:
    assert modern.fibonacci(n) == value


@pytest.mark.xfail(raises=OverflowError, reason="fibonacci counts in 64 bits")
def test_fibonacci_beyond_64_bits() -> None:
    assert modern.fibonacci(94) == 19740274219868223167


def test_old_name_warns_at_its_caller() -> None:
    with pytest.warns(DeprecationWarning, match="use add") as caught:
        assert modern.old_name() == 42
    assert caught[0].filename == __file__


def test_native_output_is_seen_by_the_descriptor_only(capfd: pytest.CaptureFixture[str]) -> None:
    print("from Python")
    modern.native_print("from Rust")
    assert capfd.readouterr().out == "from Python\nfrom Rust\n"


def test_native_output_passes_sys_stdout_by(capsys: pytest.CaptureFixture[str]) -> None:
    print("from Python")
    modern.native_print("this line is meant to be seen beside the capture")
    assert capsys.readouterr().out == "from Python\n"
