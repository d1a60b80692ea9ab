"""What Python sees of Rust's errors."""

import modern
import pytest


def test_parse_port() -> None:
    assert modern.parse_port("8080") == 8080


@pytest.mark.parametrize(
    "text, kind, message",
    [
        ("", modern.EmptyInput, "no port given"),
        ("http", ValueError, "invalid digit"),
        ("65536", modern.ModernError, "65536 is out of range"),
    ],
    ids=["empty", "no number", "too large"],
)
def test_each_rust_error_has_its_exception(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        modern.parse_port(text)
    assert type(caught.value) is kind


def test_hierarchy() -> None:
    assert modern.EmptyInput.__mro__[1:3] == (modern.ModernError, Exception)
    assert modern.ModernError.__module__ == "modern"
    assert modern.ModernError.__doc__


def test_cause_is_kept() -> None:
    with pytest.raises(RuntimeError, match="outer") as caught:
        modern.wrapped()
    assert repr(caught.value.__cause__) == "KeyError('inner')"


def test_note_is_kept() -> None:
    with pytest.raises(RuntimeError) as caught:
        modern.annotated()
    assert caught.value.__notes__ == ["said by Rust"]


def test_a_panic_is_no_ordinary_exception(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BaseException, match="on purpose") as caught:
        modern.panic_now("on purpose")
    assert type(caught.value).__name__ == "PanicException"
    assert not isinstance(caught.value, Exception)
    assert "src/exceptions.rs" in capfd.readouterr().err
