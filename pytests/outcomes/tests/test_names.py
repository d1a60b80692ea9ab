"""Names that someone's file format, shell, regular expression or path will trip over.

Each hostile id occurs twice: as pytest escapes it, and raw (see conftest.py). Some differ only until
spaces become underscores, some look like the `#01` that Go adds to duplicates.
"""

import pytest

HOSTILE = [
    "",
    " ",
    "_",
    "a b",
    "a_b",
    "a  b",
    "a__b",
    "a_b#01",
    "#01",
    "a/b",
    "/",
    "//",
    "../../etc/passwd",
    "a::b",
    "::",
    "]::test_other[",
    "[",
    "]",
    "a[b[c]]d",
    ".",
    "..",
    ".hidden",
    "trailing.",
    "-run",
    "--forked",
    "100%",
    "%s%d%n",
    "%20",
    "'",
    '"',
    "`id`",
    "$(id)",
    "a|b",
    "^.*+?{1}()$",
    "<a>&amp;]]>",
    "a\\b",
    "\\",
    "\\n",
    "\\x00",
    "\n",
    "one line\nanother",
    "\r\n",
    "\t",
    "\x00",
    "\x1b[31mred\x1b[0m",
    "\x7f",
    "\x85\u2028",
    "\ufeff",
    "\xa0",
    "naïve",
    "\u00e9",
    "e\u0301",
    "ﬁ",
    "🦀",
    "👩\u200d👧",
    "שלום",
    "\u202eevil\u202c",
    "数" * 100,
    "x" * 10_000,
    "x" * 9_999 + "y",
]


@pytest.mark.parametrize("index", [pytest.param(index, id=text) for index, text in enumerate(HOSTILE)])
def test_escaped(index: int) -> None:
    assert HOSTILE[index] is not None


@pytest.mark.parametrize("raw", HOSTILE)
def test_raw(raw: str) -> None:
    assert raw in HOSTILE


@pytest.mark.parametrize("raw", ["fails\n/[🦀] \x1b"])
def test_raw_failure(raw: str) -> None:
    raise AssertionError("with a hostile name")


@pytest.mark.parametrize("index", [pytest.param(0, id="\ud800"), pytest.param(1, id="\\ud800")])
def test_half_a_character(index: int) -> None:
    assert index < 2


@pytest.mark.parametrize("value", [1, "1", b"1"])
def test_parameters_of_one_text(value: object) -> None:
    assert value


@pytest.mark.parametrize("value", [object() for _ in range(2)])
def test_parameters_without_a_text(value: object) -> None:
    assert value


@pytest.mark.parametrize("second", ["c", "b-c"])
@pytest.mark.parametrize("first", ["a-b", "a"])
def test_two_of_one_name(first: str, second: str) -> None:
    """pytest joins ids with dashes and looks for duplicates in one list only: `a-b-c` is there twice."""
    assert first and second


@pytest.mark.parametrize("hidden", [pytest.param(1, id=pytest.HIDDEN_PARAM)])
def test_hidden_parameter(hidden: int) -> None:
    assert hidden


def test_größe_数_שלום() -> None:
    assert True


class TestÄußeres:
    """The same method names at three levels."""

    def test_same(self) -> None:
        assert True

    class TestInner:
        """Second level."""

        @pytest.mark.parametrize("raw", ["a/b", "::"])
        def test_same(self, raw: str) -> None:
            assert raw

        class TestInner:
            """Third level."""

            def test_same(self) -> None:
                assert True


def test_same() -> None:
    assert True
