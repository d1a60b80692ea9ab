"""Tests that patch what the plugin itself uses, and do not undo it before they end."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from conftest import AGENT, Suite

OS = """
    getpid write read close stat fork waitpid open listdir killpg pread pipe setpgid memfd_create pidfd_open scandir
    _exit fspath urandom
    """
PATCHED = {
    "os": tuple(OS.split()),
    "os.path": ("join", "realpath", "normpath", "dirname", "exists"),
    "time": ("time", "monotonic", "perf_counter", "sleep"),
    "json": ("dumps", "loads"),
    "builtins": ("open",),
    "io": ("open",),
    "select": ("poll", "select"),
    "signal": ("signal", "getsignal"),
    "gc": ("collect", "freeze"),
    "marshal": ("dumps", "loads"),
    "binascii": ("crc32",),
    "threading": ("active_count",),
}
NAMES = [f"{module}.{name}" for module, names in PATCHED.items() for name in names]
PATCHES = f"""
    import importlib, pytest
    def patch(monkeypatch, name):
        module, _, function = name.rpartition(".")
        def fake(*args, **kwargs): raise RuntimeError(f"the fake {{name}} was called")
        monkeypatch.setattr(importlib.import_module(module), function, fake)
    @pytest.mark.parametrize("name", {NAMES!r})
    def test_patch(name, monkeypatch): patch(monkeypatch, name)
    @pytest.mark.parametrize("name", ["os.getpid", "os.write", "os.pread", "os.waitpid", "json.dumps", "time.sleep"])
    def test_patch_for_good(name): patch(pytest.MonkeyPatch(), name)
    def test_pid_of_another(monkeypatch): monkeypatch.setattr("os.getpid", lambda: 1)
    def test_other_file(monkeypatch):
        status = importlib.import_module("os").stat("/")
        monkeypatch.setattr("os.fstat", lambda fd: status)
    """


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
def test_patches(suite: Suite, isolation: str) -> None:
    few = ["-k", "getpid or builtins or good or another or file"] if isolation == "subprocess" else []  # they are slow
    run = suite.write(test_a=PATCHES).run(*few, isolation=isolation, workers=2)
    bad = {name: verdict for name, verdict in run.verdicts().items() if verdict != "passed"}
    assert not bad and len(run.verdicts()) == (10 if few else len(NAMES) + 8), (bad, run.log[-2000:])
    ended = [each["index"] for each in run.of("finish", complete=True, exit=0)]
    assert sorted(ended) == [each["index"] for each in run.of("item")]


def test_patches_of_a_conftest(suite: Suite) -> None:
    """They are in force in pytest's own process, which forks children and collects their results."""
    suite.write(
        conftest="""
        import json, os, select, time
        def fake(*args, **kwargs): raise RuntimeError("a fake was called")
        os.getpid = lambda: 1
        os.fork = os.waitpid = os.pipe = os.pidfd_open = os.pread = json.dumps = select.poll = fake
        """,
        test_a="def test_1(): pass\ndef test_2(): assert 0\n",
    )
    run = suite.run("-p", "no:tmpdir", "-p", "no:cacheprovider", "-p", "no:benchmark")
    assert list(run.verdicts().values()) == ["passed", "failed"], run.log


@pytest.mark.parametrize("isolation", ["forked", "subprocess", "inprocess"])
@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "reap"])
def test_ends_of_children_that_nobody_is_to_wait_for(suite: Suite, handler: str, isolation: str) -> None:
    """A conftest ignores SIGCHLD, or reaps all: the ends are still known, and tests see the conftest's setting."""
    suite.write(
        conftest=f"""
        import os, signal
        def reap(*args):
            try:
                while os.waitpid(-1, os.WNOHANG)[0]: pass
            except ChildProcessError: pass
        HANDLER = {handler}
        signal.signal(signal.SIGCHLD, HANDLER)
        def pytest_sessionfinish():
            assert signal.getsignal(signal.SIGCHLD) == HANDLER
        """,
        test_a="""
        import os, pytest, signal
        def test_1(pytestconfig):
            handler = pytestconfig.pluginmanager.get_plugin("conftest") or __import__("conftest")
            assert signal.getsignal(signal.SIGCHLD) == handler.HANDLER
        @pytest.mark.forked
        def test_2(): os.kill(os.getpid(), signal.SIGSEGV)
        @pytest.mark.forked
        def test_3(): pass
        """,
    )
    run = suite.run(isolation=isolation, workers=2)
    assert list(run.verdicts().values()) == ["passed", "failed", "passed"], run.log
    finishes = [run.finish(f"test_{i}") for i in (1, 2, 3)]
    assert [(each["exit"], each["signal"]) for each in finishes] == [(0, None), (None, 11), (0, None)]
    assert run.one("exit")["exit"] == 1


def test_no_module_uses_what_tests_patch() -> None:
    """All modules use kept.py, except those that finish before the first test or load nothing of the project."""
    folder = AGENT.parent / "site" / "pyo3test_plugin"
    for path in sorted(folder.glob("*.py")):
        if path.name in ("kept.py", "lines.py", "oneprocess.py", "settings.py", "template.py"):
            continue
        tree = ast.parse(Path(path).read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "open"}
        assert not names & (set(PATCHED) | {"open", "struct"}), path.name
