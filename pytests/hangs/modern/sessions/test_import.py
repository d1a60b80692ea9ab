"""The initialiser of the module never returns: with HANGS_IN=import no line of this file runs."""

import hangs


def test_first() -> None:
    assert True


def test_last() -> None:
    assert hangs.__name__ == "hangs"
