"""Tests that pass."""

import outcomes
import pytest


def test_passes() -> None:
    assert outcomes.write_to(1, b"") == 0


@pytest.mark.parametrize("number", [1, 2, 3])
def test_passes_with_each(number: int) -> None:
    assert number


class TestClass:
    """Methods, with state that is made anew for each."""

    seen = 0

    def test_first(self) -> None:
        self.seen += 1
        assert self.seen == 1

    def test_second(self) -> None:
        self.seen += 1
        assert self.seen == 1

    class TestNested:
        """One level deeper."""

        def test_third(self) -> None:
            assert True
