"""A file that cannot be imported: the others must run all the same."""

import no_such_module


def test_never_collected() -> None:
    assert no_such_module
