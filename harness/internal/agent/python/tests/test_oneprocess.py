"""State of pytest's own process that forked tests or hooks set or check: carried over if possible, else named."""

from __future__ import annotations

import pytest
from conftest import Suite
from test_popular import counts, plain

STOPS = """
    import pytest
    def test_1(): pass
    def test_2(request): {statement}
    def test_3(): pass
    """
FIXTURE = """
    import pytest
    @pytest.fixture(autouse=True)
    def watch(request):
        yield
        if request.node.name == "test_2": request.session.shouldfail = "from a fixture"
    def test_1(): pass
    def test_2(): pass
    def test_3(): pass
    """


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
@pytest.mark.parametrize("statement", ["shouldfail = 'enough'", "shouldstop = 'enough'", "shouldfail = True", ""])
def test_a_session_that_a_test_stops(suite: Suite, statement: str, isolation: str) -> None:
    """It ends as in plain pytest: no further test, and a status that is no success."""
    suite.write(test_a=STOPS.replace("{statement}", f"request.session.{statement}") if statement else FIXTURE)
    run = suite.run(isolation=isolation)
    assert list(run.verdicts().values()) == ["passed", "passed", "not run"], run.log
    assert (run.one("exit")["exit"], counts(run.log)) == plain(suite)
    assert run.one("exit")["exit"] == (2 if "shouldstop" in statement else 1)


def test_a_session_that_one_of_two_tests_stops(suite: Suite) -> None:
    """As with -x: what runs already may end."""
    suite.write(
        test_a="""
        import time
        def test_long(): time.sleep(2)
        def test_stops(request): request.session.shouldstop = "enough"
        def test_last(): pass
        """
    )
    run = suite.run(workers=2)
    assert list(run.verdicts().values()) == ["passed", "passed", "not run"] and run.one("exit")["exit"] == 2
