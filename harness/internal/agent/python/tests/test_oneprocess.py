"""State of pytest's own process that forked tests or hooks set or check: carried over if possible, else reported."""

from __future__ import annotations

import pytest
from conftest import Suite
from test_plugins import needs
from test_popular import counts, plain

pytestmark = pytest.mark.slow

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
    """It ends as in plain pytest: no further test runs, and the status is not success."""
    suite.write(test_a=STOPS.replace("{statement}", f"request.session.{statement}") if statement else FIXTURE)
    run = suite.run(isolation=isolation)
    assert list(run.verdicts().values()) == ["passed", "passed", "not run"], run.log
    assert (run.one("exit")["exit"], counts(run.log)) == plain(suite)
    assert run.one("exit")["exit"] == (2 if "shouldstop" in statement else 1)


def test_a_session_that_one_of_two_tests_stops(suite: Suite) -> None:
    """As with -x, a test that is already running may end."""
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


LOOP = """
    import pytest
    def pytest_runtestloop(session):
        print("the loop of the conftest")
        {statement}
    """


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
@pytest.mark.parametrize(
    "statement",
    ["raise RuntimeError('no')", "pytest.exit('no device', 3)", "return True", ""],
)
def test_loops_of_others_are_called(suite: Suite, statement: str, isolation: str) -> None:
    """They are called before ours, and once: what they raise or return counts as in plain pytest."""
    suite.write(conftest=LOOP.replace("{statement}", statement), test_a="def test_1(): pass\ndef test_2(): pass\n")
    run = suite.run(isolation=isolation)
    assert run.log.count("the loop of the conftest") == 1
    status, outcomes = plain(suite)
    if statement == "return True":  # plain pytest then succeeds, though no test has run; no test is reported here
        assert not run.of("start")
    else:
        assert (run.one("exit")["exit"], counts(run.log)) == (status, outcomes)
    assert set(run.verdicts().values()) <= ({"not run"} if statement else {"passed"})


DEPENDENT = """
    import pytest
    @pytest.mark.dependency()
    def test_1(): pass
    @pytest.mark.dependency(depends=["test_1"])
    def test_2(): assert 0
    """


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
def test_plugin_that_needs_one_process(plugged: Suite, isolation: str) -> None:
    """If a suite uses it, it is reported with the isolation to choose instead."""
    needs(plugged, "pytest_dependency")
    run = plugged.write(test_a=DEPENDENT).run(isolation=isolation)
    notes = run.one("collected")["notes"]
    if isolation == "inprocess":
        assert notes == [] and run.verdicts()["test_a.py::test_2"] == "failed"
        return
    assert len(notes) == 1 and notes[0].startswith("pytest-dependency 0.6.1: a forked test does not know "), notes
    assert notes[0].endswith('; isolation "inprocess" runs the tests that need it in one process')
    assert plugged.write(test_a="def test_1(): pass\n").run(isolation=isolation).one("collected")["notes"] == []


@pytest.mark.parametrize("isolation", ["forked", "inprocess"])
def test_hook_that_needs_one_process(suite: Suite, isolation: str) -> None:
    """A project's own pytest_sessionfinish is reported with its place; those of installed plugins are not."""
    (suite.folder / "sub").mkdir()
    suite.write(
        test_a="def test_1(): pass\n",
        conftest="pytest_plugins = ['local']\n",
        local="class Plugin:\n    def pytest_sessionfinish(self): pass\n"
        "def pytest_configure(config): config.pluginmanager.register(Plugin())\n",
    )
    (suite.folder / "sub" / "conftest.py").write_text(
        "import pytest\n@pytest.hookimpl(hookwrapper=True)\ndef pytest_sessionfinish(): yield\n"
    )
    (suite.folder / "sub" / "test_b.py").write_text("def test_2(): pass\n")
    run = suite.run(isolation=isolation)
    places = [note.partition(": it runs in pytest's own process")[0] for note in run.one("collected")["notes"]]
    wanted = ["local.py:2: pytest_sessionfinish", "sub/conftest.py:2: pytest_sessionfinish"]
    assert places == [f"{suite.folder}/{each}" for each in wanted if isolation != "inprocess"]
