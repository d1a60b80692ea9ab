"""The agent's own duties: the protocol, importing, dumps, and that no process outlives it."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import AGENT, Suite, Talk, alive, built, hang_killer

sys.path.insert(0, str(AGENT.parent))

import facts
import gdb
import gil
import waits

pytestmark = pytest.mark.slow

HANG = "import time\ndef test_hangs():\n    time.sleep(1000)\n"


def test_import_then_tests(suite: Suite) -> None:
    suite.write(test_a="def test_1(): pass\n", native="")
    suite.write(other="")
    modules = [built(suite.folder / "native.py"), built(suite.folder / "other.py")]
    run = suite.run(imports=modules, env={"PYTHONPATH": str(suite.folder)})
    native, other = run.of("import")
    assert native["ok"] and native["module"] == "native" and native["file"] == str(suite.folder / "native.py")
    assert other["ok"] and run.one("importing")["pid"] > 0 and run.one("exit")["exit"] == 0


def test_the_sources_do_not_shadow_the_build(suite: Suite) -> None:
    """As under the `pytest` script, the working folder is not on sys.path when the modules are imported."""
    run = suite.write(native="", test_a="def test_1(): pass\n").run(imports=[built(suite.folder / "native.py")])
    failed = run.one("import")
    assert not failed["ok"] and failed["error"] == "ModuleNotFoundError: No module named 'native'"
    assert run.of("started") == [] and run.of("exit") == []


@pytest.mark.parametrize(
    ("code", "error", "trace"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero", "1 / 0"),
        ("raise SystemExit(0)", "SystemExit: 0", "raise SystemExit"),
        ("import ctypes; ctypes.string_at(0)", "the importing process died: SIGSEGV (11)", "Segmentation fault"),
        ("import os; os._exit(0)", "the importing process ended with status 0", ""),
    ],
)
def test_import_failures(suite: Suite, code: str, error: str, trace: str) -> None:
    suite.write(bad=code + "\n", good="", never="", test_a="def test_1(): pass\n")
    modules = [built(suite.folder / f"{name}.py") for name in ("good", "bad", "never")]
    run = suite.run(imports=modules, env={"PYTHONPATH": str(suite.folder)})
    failed = run.one("import", ok=False)
    assert (failed["module"], failed["error"]) == ("bad", error) and trace in failed["traceback"]
    assert run.of("started") == []


def test_import_that_hangs_can_be_killed(suite: Suite) -> None:
    suite.write(bad="import time; time.sleep(1000)\n", test_a="def test_1(): pass\n")

    def on(talk: Talk, event: dict[str, Any]) -> None:
        if event["ev"] == "importing":
            time.sleep(0.5)
            talk.say(cmd="kill", pid=event["pid"], reason="hung", message="hung: no end after 0.5 s")

    run = suite.run(imports=[built(suite.folder / "bad.py")], env={"PYTHONPATH": str(suite.folder)}, on=on)
    assert run.one("import")["error"] == "hung: no end after 0.5 s" and run.one("import")["module"] == "bad"


def test_the_world_is_that_of_the_pytest_script(suite: Suite) -> None:
    """sys.path, sys.argv and the environment are what the tests would see without the agent."""
    suite.write(
        test_a="""
        import json, os, sys
        def test_1():
            with open("seen", "w") as file:
                json.dump([sys.path, sys.argv[0], sorted(k for k in os.environ if k != "PYTEST_VERSION")], file)
        """
    )
    seen = []
    script = Path(suite.python).parent / "pytest"
    env = {"PATH": os.environ["PATH"], "HOME": "/tmp", "LANG": "C.UTF-8"}
    subprocess.run([script, "-q", "-p", "no:cacheprovider"], cwd=suite.folder, env=env, check=True, capture_output=True)
    seen.append((suite.folder / "seen").read_text())
    suite.run(env={"PATH": os.environ["PATH"]})
    seen.append((suite.folder / "seen").read_text())
    assert seen[0] == seen[1]


def test_restore(suite: Suite, tmp_path: Path) -> None:
    tree = tmp_path / "tree" / "suite"
    tree.mkdir(parents=True)
    (tree / "built.py").write_text("VALUE = 2\n")
    suite.write(built="VALUE = 1\n", test_a="import built\ndef test_1(): assert built.VALUE == 2\n")
    run = suite.run(restore=str(tmp_path / "tree"), into=str(tmp_path))
    assert run.verdicts() == {"test_a.py::test_1": "passed"}
    assert suite.run(restore=str(tmp_path / "none"), into=str(tmp_path)).one("exit")["exit"] == 0


def test_dump_has_the_frames(suite: Suite) -> None:
    run = suite.write(test_a=HANG).run(on=hang_killer("test_hangs", dump=True))
    dump = run.one("dump")
    assert dump["id"] == "d1" and dump["error"] == ""
    frames = [frame["name"] for thread in dump["stacks"] for frame in thread["frames"]]
    assert "test_hangs" in frames and any("sleep" in name for name in frames)


def test_dump_without_py_spy(suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If py-spy fails, faulthandler answers; if faulthandler's signal is blocked, /proc does."""
    python = _python_without_py_spy(tmp_path)
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setenv("PATH", str(tmp_path))  # no gdb either
    run = suite.write(test_a=HANG).run(on=hang_killer("test_hangs", dump=True))
    dump = run.one("dump")
    assert dump["stacks"] is None and "in test_hangs" in dump["text"] and "state S" in dump["facts"]
    deaf = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
    run = suite.write(
        test_a=HANG.replace("    time.sleep", "    exec(DEAF)\n    time.sleep") + f"DEAF = {deaf!r}\n"
    ).run(on=hang_killer("test_hangs", dump=True))
    dump = run.one("dump")
    assert "in test_hangs" not in dump["text"] and "state S" in dump["facts"]
    assert "does not listen" in dump["error"]


@pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb here")
def test_dump_by_gdb(suite: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """gdb has the native stacks if there is no py-spy, and faulthandler has Python's own."""
    monkeypatch.setattr(sys, "executable", _python_without_py_spy(tmp_path))
    monkeypatch.setenv("PATH", os.path.dirname(str(shutil.which("gdb"))))
    dump = suite.write(test_a=HANG).run(on=hang_killer("test_hangs", dump=True)).one("dump")
    (thread,) = dump["stacks"]
    assert any("sleep" in frame["name"] or "select" in frame["name"] for frame in thread["frames"])
    assert thread["os_thread_id"] == dump["pid"] and thread["active"] is False
    assert "in test_hangs" in dump["text"]


@pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb here")
def test_crash_under_gdb(suite: Suite) -> None:
    """The thread that died comes first, with all frames that have a name."""
    suite.write(
        test_a="""
        import ctypes, signal, subprocess, threading, time
        def test_dies():
            signal.signal(signal.SIGUSR1, lambda *_: None)
            signal.raise_signal(signal.SIGUSR1)  # is none of gdb's business
            subprocess.run(["false"])
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
            print("received signal 3 of a test")
            ctypes.string_at(0)
        def test_lives(): pass
        """
    )
    one: dict[str, Any] = {"isolation": "inprocess", "debugger": True}
    run = suite.run(order=lambda _: [0], **one)
    first, second = run.one("dump")["stacks"]
    assert first["active"] and not second["active"] and len(first["frames"]) > 5
    # On aarch64 ffi_call jumps to what it calls, so it is on no stack.
    caller = "_PyEval_EvalFrameDefault" if os.uname().machine == "aarch64" else "ffi_call"
    assert any(caller in frame["name"] for frame in first["frames"]), first["frames"]
    assert first["os_thread_id"] == run.one("start")["pid"]
    assert run.of("finish") == [] and run.one("exit")["exit"] is not None
    run = suite.run(order=lambda _: [1], **one)
    assert run.one("dump")["stacks"] is None and set(run.verdicts().values()) == {"passed", "not run"}


def test_gdb_is_read() -> None:
    """Names lose arguments and types, threads get their number, and frames without a name are left out."""
    text = """Thread 2 (Thread 0x7f9686fb26c0 (LWP 19) "wor(k)er"):
#0  0x00007f96886f1829 in syscall () from /lib/libc.so.6
#1  hangs::locks::Mutex::lock<i32> (self=0x7f <hangs::ONE::h6>, f=...) at /usr/src/mutex.rs:492
#2  0x00007f96886791f5 in ?? () from /lib/libc.so.6
#3  0x0000ffff873f5f00 [PAC] in ?? () from /lib/libc.so.6
#4  0x0000ffff8743ceac [PAC] in pause () from /lib/libc.so.6
#5  core::ops::call<std::{closure_env#1}<fn() -> i32>, ()> () at src/locks.rs:63

Thread 1 (Thread 0x7f1bc0ef36c0 (LWP 17) "python" (Exiting)):
#0  hangs::{impl#2}::drop () at src/exits.rs:5
"""
    assert gdb.parse(text) == [
        {
            "thread_name": "wor(k)er",
            "os_thread_id": 19,
            "frames": [
                {"name": "syscall", "filename": "/lib/libc.so.6", "line": 0},
                {"name": "hangs::locks::Mutex::lock", "filename": "/usr/src/mutex.rs", "line": 492},
                {"name": "pause", "filename": "/lib/libc.so.6", "line": 0},
                {"name": "core::ops::call", "filename": "src/locks.rs", "line": 63},
            ],
        },
        {
            "thread_name": "python",
            "os_thread_id": 17,
            "frames": [{"name": "hangs::{impl#2}::drop", "filename": "src/exits.rs", "line": 5}],
        },
    ]


def _python_without_py_spy(folder: Path) -> str:
    """Return a link to Python in a folder without py-spy."""
    (folder / "bin").mkdir()
    link = folder / "bin" / "python"
    link.symlink_to(os.path.realpath(sys.executable))
    return str(link)


def test_every_process_lets_itself_be_looked_at(suite: Suite, tmp_path: Path) -> None:
    """If only ancestors may trace (Yama), each process must allow it: the importing one, pytest, and each child."""
    told = tmp_path / "prctl.txt"
    suite.write(
        sitecustomize=f"""
        import ctypes, os
        class Recording(ctypes.CDLL):
            def __getattr__(self, name):
                function = super().__getattr__(name)
                def call(*args):
                    with open({str(told)!r}, "a") as file:
                        print(os.getpid(), *args, file=file)
                    return function(*args)
                return call if name == "prctl" else function
        ctypes.CDLL = Recording
        """,
        mod="",
        test_a="def test_1(): pass\ndef test_2(): pass\n",
    )
    modules = [built(suite.folder / "mod.py")]
    run = suite.run(imports=modules, env={"PYTHONPATH": str(suite.folder)})
    assert set(run.verdicts().values()) == {"passed"}
    wanted = [run.one("importing")["pid"], run.one("started")["pid"], *(e["pid"] for e in run.of("start"))]
    assert len(set(wanted)) == 4
    calls = [line.split() for line in told.read_text().splitlines()]
    set_ptracer, anyone = str(0x59616D61), str(2**64 - 1)  # linux/prctl.h
    for pid in wanted:
        assert [str(pid), set_ptracer, anyone, "0", "0", "0"] in calls, (pid, calls)


def test_a_fork_copies_no_thread_and_the_dump_names_those(suite: Suite) -> None:
    suite.write(
        test_a="""
        import threading, time
        threading.Thread(target=time.sleep, args=(1000,), daemon=True, name="worker").start()
        def test_hangs(): time.sleep(1000)
        """
    )
    dump = suite.run(on=hang_killer("test_hangs", dump=True)).one("dump")
    assert len(dump["parent_threads"]) == 1 and dump["parent_threads"][0].startswith("1 thread ")
    assert "memory" in dump["facts"] and "file 0: /dev/null" in dump["facts"]
    assert dump["pace"]["switches"] > 0


def test_libraries_of_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """The return addresses are found on it, also those that aarch64 has signed in their upper bits."""
    stack = ctypes.create_string_buffer(struct.pack("<4Q", 7, 0x7F00_0000_1010, 0x005A_7F00_0000_3020, 1 << 62))
    start = ctypes.addressof(stack)
    space = [
        gil.Mapping(0x7F00_0000_1000, 0x7F00_0000_2000, "r-xp", 0, "/lib/libinner.so"),
        gil.Mapping(0x7F00_0000_3000, 0x7F00_0000_4000, "r-xp", 0, "/lib/libouter.so"),
        gil.Mapping(start, start + 32, "rw-p", 0, ""),
    ]
    monkeypatch.setattr(waits, "call", lambda pid, thread: waits.Call("futex", pointer=start))
    assert facts._libraries(os.getpid(), 1, space) == ["libinner.so", "libouter.so"]


def test_pace_grows_where_somebody_works(suite: Suite) -> None:
    suite.write(test_a="def test_works():\n    while True: pass\n")
    pid = 0

    def on(talk: Talk, event: dict[str, Any]) -> None:
        nonlocal pid
        if event["ev"] == "start":
            pid = event["pid"]
            time.sleep(0.5)
            talk.say(cmd="pace", pid=pid)
        if event["ev"] == "pace" and len([e for e in talk.events if e["ev"] == "pace"]) == 1:
            time.sleep(1)
            talk.say(cmd="pace", pid=pid)
            talk.say(cmd="kill", pid=pid, reason="hung", message="hung")

    first, second = (event["pace"] for event in suite.run(on=on).of("pace"))
    assert second["at"] - first["at"] >= 1 and second["cpu"] > first["cpu"]
    assert second["queued"] >= first["queued"] >= 0


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="a kernel that does not count it")
def test_pace_shows_a_queue_for_the_processor() -> None:
    """Two processes loop on one processor: each is ready to run while the other one has it."""
    program = "import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\nwhile True: pass"
    loop = [sys.executable, "-c", program]
    with subprocess.Popen(loop) as one, subprocess.Popen(loop) as other:
        try:
            end = time.monotonic() + 30
            while min(facts.pace(each.pid)["queued"] for each in (one, other)) < 0.2:
                assert time.monotonic() < end
                time.sleep(0.05)
        finally:
            one.kill()
            other.kill()


def test_dumps_do_not_stop_the_events(suite: Suite) -> None:
    """While one test's stacks are collected, another test's events still arrive."""
    suite.write(test_a=HANG + "def test_quick(): pass\n" * 1 + "".join(f"def test_q{i}(): pass\n" for i in range(30)))
    run = suite.run(on=hang_killer("test_hangs", dump=True), workers=2)
    assert run.verdicts()["test_a.py::test_hangs"] == "failed"
    assert list(run.verdicts().values()).count("passed") == 31


def test_dump_and_kill_of_strangers_are_refused(suite: Suite) -> None:
    """A process that does not belong to the tests is not touched."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    try:

        def on(talk: Talk, event: dict[str, Any]) -> None:
            if event["ev"] == "start":
                talk.say(cmd="dump", pid=stranger.pid, id="x")
                talk.say(cmd="kill", pid=stranger.pid, reason="hung", message="m")

        run = suite.write(test_a="import time\ndef test_1(): time.sleep(0.5)\n").run(on=on)
        assert run.one("dump")["stacks"] is None and "none of the tests'" in run.one("dump")["error"]
        assert run.one("killed")["processes"] == [] and stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_garbage_on_stdin(suite: Suite) -> None:
    talk = suite.write(test_a="def test_1(): pass\n").talk()
    assert talk.process.stdin is not None
    talk.process.stdin.write(
        b'\xff\xfe not json\n[1]\n"x"\n{}\n{"cmd":"fly"}\n{"cmd":"dump"}\n{"cmd":"run","order":[0]}\n\n'
    )
    talk.start()

    def answer(event: dict[str, Any]) -> None:
        if event["ev"] == "collected":
            talk.say(cmd="run", order=["x"])
            talk.say(cmd="start")
            talk.say(cmd="run", order=[0, 7, -3])

    run = talk.listen(answer)
    assert run.verdicts() == {"test_a.py::test_1": "passed"} and len(run.of("error")) == 9


@pytest.mark.parametrize("field", ["python", "cwd", "isolation", "workers"])
def test_bad_start(suite: Suite, field: str) -> None:
    talk = suite.talk()
    wrong = {"python": "/no/such/python", "cwd": "/no/such/folder", "isolation": "hope", "workers": -1}[field]
    talk.start(**{field: wrong})
    run = talk.listen(lambda event: None)
    assert run.one("error")["message"].startswith("start: ") and run.events[-1]["ev"] == "done" and run.status == 0


@pytest.mark.parametrize("how", ["eof", "stop", "before"])
def test_the_end_of_go_is_the_end_of_all(suite: Suite, how: str) -> None:
    marker = f"orphan-{os.getpid()}-{time.monotonic_ns()}"
    suite.write(
        test_a=f"""
        import subprocess, sys, time
        def test_hangs():
            code = "import time; time.sleep(1000)"
            subprocess.Popen([sys.executable, "-c", code, "{marker}"], start_new_session=True)
            time.sleep(1000)
        """
    )
    talk = suite.talk()
    assert talk.process.stdin is not None
    if how == "before":
        talk.process.stdin.close()
    else:
        talk.start()

    def answer(event: dict[str, Any]) -> None:
        if event["ev"] == "collected":
            talk.say(cmd="run", order=[0])
        if event["ev"] == "start":
            time.sleep(0.5)
            if how == "stop":
                talk.say(cmd="stop")
            else:
                assert talk.process.stdin is not None
                talk.process.stdin.close()

    run = talk.listen(answer)
    assert run.events[-1]["ev"] == "done" and run.status == 0
    assert alive(marker) == [] and alive(str(talk.out)) == []


def test_exit_hang_is_seen_and_killed(suite: Suite) -> None:
    suite.write(
        test_a="def test_1(): pass\n",
        conftest="import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n",
    )

    def on(talk: Talk, event: dict[str, Any]) -> None:
        if event["ev"] == "finished":
            time.sleep(0.5)
            talk.say(
                cmd="kill", pid=next(e["pid"] for e in talk.events if e["ev"] == "started"), reason="hung", message="x"
            )

    run = suite.run(on=on)
    assert run.one("finished")["exitstatus"] == 0 and run.one("exit")["signal"] == 9
    assert run.one("start")["threads"] == 2
    assert run.junit() == {("test_a", "test_1"): ["passed"]}


def test_hang_at_collection_names_the_module(suite: Suite) -> None:
    def on(talk: Talk, event: dict[str, Any]) -> None:
        if event["ev"] == "collecting" and event["nodeid"] == "test_b.py":
            time.sleep(0.3)
            talk.say(cmd="stop")

    run = suite.write(test_a="", test_b="import time; time.sleep(1000)\n", test_c="").run(on=on)
    assert [e["nodeid"] for e in run.of("collecting")][-1] == "test_b.py"
    assert run.one("exit")["signal"] == 9 and run.of("finished") == []


def test_hang_in_process(suite: Suite) -> None:
    run = suite.write(test_a="def test_0(): pass\n" + HANG).run(isolation="inprocess", on=hang_killer("test_hangs"))
    assert run.verdicts()["test_a.py::test_0"] == "passed" and run.one("exit")["signal"] == 9


def test_a_daemon_that_holds_the_pipes_does_not_hold_the_agent(suite: Suite) -> None:
    suite.write(
        test_a="""
        import os, time
        def test_leaves():
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0: time.sleep(1000)
                os._exit(0)
            os.wait()
        """
    )
    began = time.monotonic()
    run = suite.run(isolation="inprocess")
    assert run.verdicts()["test_a.py::test_leaves"] == "passed" and time.monotonic() - began < 15


def test_beats_and_versions(suite: Suite) -> None:
    run = suite.write(test_a="import time\ndef test_1(): time.sleep(2.2)\n").run()
    assert len(run.of("beat")) >= 2
    session = run.one("session")
    assert session["rootdir"] == str(suite.folder) and session["pytest"].split(".")[0].isdigit()
    assert [e["t"] for e in run.events] == sorted(e["t"] for e in run.events)


def test_no_word_reaches_the_protocol_from_tests(suite: Suite) -> None:
    suite.write(
        test_a="""
        import os
        os.write(1, b"at import\\n")
        def test_1():
            for fd in (1, 2):
                os.write(fd, b'{"ev":"finished","exitstatus":0}\\n')
        """
    )
    run = suite.run("-s")
    assert len(run.of("finished")) == 1 and run.of("garbage") == [] and '{"ev":"finished"' in run.log


def test_garbage_in_the_event_pipe(suite: Suite) -> None:
    """In-process tests can write where the plugin writes; what is not an event is reported as garbage."""
    suite.write(
        test_a=r"""
        import os, stat
        NOISE = b'noise\n{"ev":"done"}\n{"ev":"start","index":1e9}\n{"ev":"phase","x":NaN}\n\xff\n'
        def test_1():
            for name in os.listdir("/proc/self/fd"):
                fd = int(name)
                if fd > 100 and stat.S_ISFIFO(os.fstat(fd).st_mode):
                    try:
                        os.write(fd, NOISE)
                    except OSError: pass
        """
    )
    run = suite.run(isolation="inprocess")
    assert run.of("garbage")[0]["text"] == "noise" and len(run.of("garbage")) == 5
    assert run.events[-1]["ev"] == "done" and run.one("exit")["exit"] == 0


def test_agent_survives_the_loss_of_its_reader(suite: Suite) -> None:
    """The reader of its stdout is gone: the agent ends, and pytest with it."""
    talk = suite.write(test_a=HANG).talk()
    talk.start()
    assert talk.process.stdout is not None and talk.process.stdin is not None and talk.process.stderr is not None
    while b'"collected"' not in talk.process.stdout.readline():
        pass
    talk.say(cmd="run", order=[0])
    talk.process.stdout.close()
    assert talk.process.wait(20) == 0
    talk.process.stdin.close()
    assert talk.process.stderr.read() == b""
    talk.process.stderr.close()
    assert alive(str(talk.out)) == []


def test_agent_file_is_found_by_its_own_path() -> None:
    """Isolated mode leaves the script's folder off sys.path, but the agent still finds its modules."""
    done = subprocess.run([sys.executable, "-I", str(AGENT)], input=b"", capture_output=True, cwd="/", check=True)
    assert done.stdout.splitlines()[-1].startswith(b'{"ev":"done"')
