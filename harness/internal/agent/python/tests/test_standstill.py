"""The time that pytest's own process takes between tests is distinguished from the time that a test takes."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Suite, Talk

pytestmark = pytest.mark.slow

HOOK = "import time\ndef pytest_runtest_{}({}): time.sleep({})\n"


def kill_the_ended(talk: Talk, event: dict[str, Any]) -> None:
    """Kill a test that has ended, which the Go side must not do."""
    if event["ev"] == "gone":
        talk.say(cmd="kill", pid=event["pid"], reason="hung", message="hung: no end")


@pytest.mark.parametrize("isolation", ["forked", "subprocess"])
@pytest.mark.parametrize("hook", ["logstart(nodeid)", "logreport(report)", "logfinish(nodeid)"])
def test_the_end_of_a_process_is_told_before_its_report(suite: Suite, isolation: str, hook: str) -> None:
    """Once, even if pytest is busy with this test or another; and an ended process cannot be killed for a hang."""
    suite.write(
        test_a="def test_1(): pass\ndef test_2(): pass\n",
        conftest=HOOK.format(*hook.rstrip(")").split("("), 0.6 if "report" in hook else 1.5),
    )
    run = suite.run(isolation=isolation, workers=2, on=kill_the_ended)
    assert set(run.verdicts().values()) == {"passed"}
    assert {event["pid"] for event in run.of("gone")} == {event["pid"] for event in run.of("start")}
    assert len(run.of("gone")) == 2
    for index in (0, 1):
        kinds = [(e["ev"], e.get("when")) for e in run.events if e.get("index") == index and e["ev"] != "item"]
        assert kinds[:2] == [("start", None), ("phase", "report")] and kinds[-1] == ("finish", None)
    told = [e["ev"] for e in run.events if e["ev"] in ("finish", "phase")]
    assert told == ["phase", "finish"] * 2, "what is known of the first is told before the second's hooks"


def test_phases_in_process(suite: Suite) -> None:
    """Each hook's time is reported, and the test's phase after it."""
    suite.write(
        test_a="def test_1(): pass\n",
        conftest="".join(HOOK.format(f"log{name}", "", 0) for name in ("start", "finish")),
    )
    run = suite.run(isolation="inprocess")
    phases = [e["when"] for e in run.of("phase")]
    report = ["report"]
    setup, call, teardown = (["setup", *report, "setup"], ["call", *report, "call"], ["teardown", *report, "teardown"])
    assert phases == ["setup", *report, *setup, *call, *teardown, *report, "teardown"]
    run = suite.write(conftest="").run(isolation="inprocess")
    assert [e["when"] for e in run.of("phase")] == ["setup", "call", "teardown"], "nothing where there is no hook"


def test_no_file_is_collected_any_more(suite: Suite) -> None:
    """A hang after the collection is not attributed to the import of the last file."""
    run = suite.write(test_a="def test_1(): pass\n").run()
    assert [e["nodeid"] for e in run.of("collecting")][-2:] == ["test_a.py", ""]
