"""A file that skips itself while it is collected: no test of it has a name."""

import pytest

pytest.skip("the whole file is skipped", allow_module_level=True)


def test_never_collected() -> None:
    pytest.fail("never runs")
