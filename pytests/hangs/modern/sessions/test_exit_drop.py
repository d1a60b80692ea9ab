"""An object that lives as long as the interpreter joins its thread when it is dropped."""

import hangs

SESSION = hangs.Session()


def test_first() -> None:
    assert True


def test_last() -> None:
    assert True
