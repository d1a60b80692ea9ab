"""Whatever ends pytest early, in any phase, with any status: it is reported, and costs no other test its result."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection

import pytest
from conftest import Run, Suite

pytestmark = pytest.mark.slow

AFTER = "\ndef test_after(): pass\n"
STATUSES = (0, 1, 3, 4, 5, 70, 255)


def pairs(phases: Collection[str], statuses: tuple[int, ...]) -> list[tuple[str, int]]:
    """Return each phase with status 0, which looks like success, and each other status with one of the phases."""
    return [*((phase, 0) for phase in phases), *zip(itertools.cycle(phases), statuses[1:])]


def proper(run: Run) -> bool:
    """Report whether the session sent all events of its end, and they agree, as the Go side requires."""
    (finished, left, ended) = (run.of(kind) for kind in ("finished", "leave", "exit"))
    return len(finished) == len(left) == 1 and finished[0]["exitstatus"] == ended[0]["exit"]


def test_a_proper_end(suite: Suite) -> None:
    assert proper(suite.write(test_a=AFTER).run())
    assert proper(suite.write(test_a="def test_fails(): assert 0\n").run(isolation="inprocess"))


OUTSIDE = {
    "import of conftest": "{deed}\n",
    "configure": "def pytest_configure(): {deed}\n",
    "collection": "def pytest_collection_modifyitems(): {deed}\n",
    "session finish": "def pytest_sessionfinish(): {deed}\n",
    "after session finish": (
        "import pytest\n@pytest.hookimpl(hookwrapper=True, tryfirst=True)\n"
        "def pytest_sessionfinish():\n    yield\n    {deed}\n"
    ),
    "unconfigure": "def pytest_unconfigure(): {deed}\n",
}


@pytest.mark.parametrize(("phase", "status"), pairs([*OUTSIDE, "exit handler"], STATUSES))
def test_exit_outside_tests(suite: Suite, phase: str, status: int) -> None:
    code = {**OUTSIDE, "exit handler": "import atexit\natexit.register(lambda: {deed})\n"}[phase]
    suite.write(conftest="import os\n" + code.format(deed=f"os._exit({status})"), test_a=AFTER)
    run = suite.run()
    assert not proper(run) and run.one("exit")["exit"] == status
    if "finish" in phase or phase in ("unconfigure", "exit handler"):
        assert run.verdicts() == {"test_a.py::test_after": "passed"}


@pytest.mark.parametrize(("phase", "status"), pairs(OUTSIDE, (0, 1, 5)))
def test_system_exit_outside_tests(suite: Suite, phase: str, status: int) -> None:
    suite.write(conftest=OUTSIDE[phase].format(deed=f"raise SystemExit({status})"), test_a=AFTER)
    run = suite.run()
    end = run.one("exit")
    assert (end["exit"] == 70 and not proper(run)) or (end["exit"] == 3 and "INTERNALERROR" in end["text"])
    assert "SystemExit" in end["text"]


@pytest.mark.parametrize("error", ["pytest.exit('enough')", "pytest.exit('enough', returncode=7)"])
def test_pytest_exit_at_session_finish_is_pytests_own(suite: Suite, error: str) -> None:
    suite.write(conftest=f"import pytest\ndef pytest_sessionfinish(): {error}\n", test_a=AFTER)
    assert proper(suite.run())


INSIDE = """
import os, pytest, sys
@pytest.fixture
def fixture():
    {setup}
    yield
    {teardown}
def test_bad(fixture): {call}
"""


def inside(phase: str, deed: str) -> str:
    """Return a test that does it in that phase, and one after it."""
    return INSIDE.format(**{**dict.fromkeys(("setup", "call", "teardown"), "pass"), phase: deed}) + AFTER


@pytest.mark.parametrize(("phase", "status"), pairs(("setup", "call", "teardown"), STATUSES))
def test_exit_in_a_test(suite: Suite, phase: str, status: int) -> None:
    run = suite.write(test_a=inside(phase, f"os._exit({status})")).run(workers=2)
    assert run.finish("test_bad")["exit"] == status and not run.finish("test_bad")["complete"]
    assert run.verdicts()["test_a.py::test_after"] == "passed" and proper(run) and run.one("exit")["exit"] == 1
    run = suite.run(isolation="inprocess")
    assert not proper(run) and run.of("finish") == [] and run.one("exit")["exit"] == status


@pytest.mark.parametrize("phase", ["setup", "call", "teardown"])
@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
def test_system_exit_in_a_test(suite: Suite, phase: str, isolation: str) -> None:
    run = suite.write(test_a=inside(phase, "sys.exit(0)")).run(isolation=isolation)
    assert run.verdicts()["test_a.py::test_bad"] in ("failed", "error")
    assert run.verdicts()["test_a.py::test_after"] == "passed" and proper(run)


@pytest.mark.parametrize(
    "deed",
    [
        "os.execv('/bin/true', ['true'])",
        "threading.Thread(target=os._exit, args=(0,)).start() or time.sleep(9)",
        "atexit.register(os._exit, 0) and atexit._run_exitfuncs()",
        "me = os.getpid(); os.fork() or os.kill(me, 9); time.sleep(9)",
    ],
)
def test_other_ends_of_a_forked_test(suite: Suite, deed: str) -> None:
    head = "import atexit, threading, time\n"
    run = suite.write(test_a=head + inside("call", deed)).run()
    assert run.verdicts() == {"test_a.py::test_bad": "failed", "test_a.py::test_after": "passed"} and proper(run)


def test_death_between_the_report_and_the_end(suite: Suite) -> None:
    """A forked child exits by _exit: no exit handler or destructor runs. A plugin or a thread can still end it."""
    suite.write(
        conftest="""
        import os, pytest
        @pytest.hookimpl(hookwrapper=True, tryfirst=True)
        def pytest_runtest_protocol(item):
            yield
            if item.name == "test_bad" and os.getpid() != PARENT: os.abort()
        PARENT = os.getpid()
        """,
        test_a="def test_bad(): pass\n" + AFTER,
    )
    run = suite.run()
    assert run.verdicts() == {"test_a.py::test_bad": "error", "test_a.py::test_after": "passed"} and proper(run)


REPLACE = """
import os, pytest
@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    path = config.option.xmlpath
    os.remove(path)
    {deed}
"""


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("os.mkfifo(path)", "is no file"),
        ("os.mkdir(path)", "is no file"),
        ("os.symlink('/dev/zero', path)", "is no file"),
        ("os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 100 << 20)", "has 104857600 bytes"),
    ],
)
def test_something_in_the_place_of_the_junit_file(suite: Suite, deed: str, words: str) -> None:
    run = suite.write(conftest=REPLACE.format(deed=deed), test_a=AFTER).run()
    assert run.one("error")["message"] == f"pytest's JUnit file {words}: a test or a plugin wrote it"
    assert run.of("junit") == []


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
@pytest.mark.parametrize("end", ["pass", "assert 0", "os.abort()"])
def test_long_output_is_kept_whole(suite: Suite, isolation: str, end: str) -> None:
    suite.write(
        test_a=f"""
        import os
        def test_floods():
            print("first")
            for _ in range(50): os.write(1, b"x" * ((1 << 20) - 1) + b"\\n")
            print("last")
            {end}
        """
        + "def test_after(): pass\n"
    )
    run = suite.run(isolation=isolation)
    kept = list(run.out.glob("output-*.txt"))
    if end == "os.abort()" and isolation == "inprocess":
        assert kept == [] and run.one("exit")["signal"] == 6  # it was lost with pytest
        return
    (file,) = kept
    text = file.read_bytes()
    assert len(text) == (50 << 20) + 11 and text.startswith(b"first\n") and text.endswith(b"last\n")
    report = run.report("test_floods")
    ((name, section),) = [s for s in report["sections"] if "stdout" in s[0]]
    assert name == "Captured stdout call" and len(section) < 66000
    assert f"bytes left out, all is in {file.name} ...]" in section
    assert section.startswith("first\n") and section.endswith("last\n")
    assert os.path.getsize(run.out / "pytest.log") < 1 << 20 or isolation == "inprocess"


def test_long_output_is_bounded(suite: Suite) -> None:
    code = "from pyo3test_plugin import long_output\nlong_output.FOLDER_LIMIT = 300_000\n"
    run = suite.write(
        conftest=code,
        test_a="import pytest\n@pytest.mark.parametrize('n', range(5))\ndef test(n): print('x' * 99_999)\n",
    ).run()
    assert 1 <= len(list(run.out.glob("output-*.txt"))) < 4 and set(run.verdicts().values()) == {"passed"}


@pytest.mark.parametrize("isolation", ["forked", "inprocess"])
def test_a_flood_of_garbage_in_the_event_pipe(suite: Suite, isolation: str) -> None:
    """A forked test reaches it through its parent's descriptors."""
    suite.write(
        test_a="""
        import os, stat
        def test_1():
            folder = f"/proc/{PYTEST}/fd"
            for name in os.listdir(folder):
                if not os.path.exists(f"{folder}/{name}"): continue
                with open(f"/proc/{PYTEST}/fdinfo/{name}") as file: flags = int(file.read().split()[3], 8)
                if int(name) > 100 and flags & 1 and stat.S_ISFIFO(os.stat(f"{folder}/{name}").st_mode):
                    fd = os.open(f"{folder}/{name}", os.O_WRONLY)
                    os.write(fd, b"x\\n" * 400_000 + b"y" * 3_000_000 + b"\\n")
        PYTEST = os.getpid()
        """
    )
    run = suite.run(isolation=isolation)
    assert len(run.of("garbage")) == 11 and "more lines" in run.of("garbage")[-1]["text"] and proper(run)


@pytest.mark.parametrize("isolation", ["forked", "inprocess"])
@pytest.mark.parametrize("when", ["setup", "call", "teardown"])
def test_an_error_of_a_hook_that_reports(suite: Suite, when: str, isolation: str) -> None:
    """The session ends with it, and the end of what was running is reported before that."""
    suite.write(
        conftest=f"def pytest_runtest_logreport(report):\n    if report.when == {when!r}: raise ValueError('my own')\n",
        test_a="def test_1(): pass\n" + AFTER,
    )
    run = suite.run(isolation=isolation)
    kinds = [event["ev"] for event in run.events]
    assert proper(run) and run.one("exit")["exit"] == 3
    assert run.finish("test_1") and kinds.index("finish") < kinds.index("finished")


@pytest.mark.parametrize("isolation", ["forked", "inprocess"])
@pytest.mark.parametrize("stop", ["pytest.exit('enough')", "raise KeyboardInterrupt('enough')"])
def test_a_test_that_stops_the_session(suite: Suite, stop: str, isolation: str) -> None:
    """Its end is reported, and that it stopped the others."""
    run = suite.write(test_a=f"import pytest\ndef test_1(): {stop}\n" + AFTER).run(isolation=isolation)
    kinds = [event["ev"] for event in run.events]
    assert proper(run) and kinds.index("finish") < kinds.index("finished")
    assert "enough" in run.finish("test_1")["interrupt"]
