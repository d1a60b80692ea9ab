"""The hooks that pytest must know from the start: they add options, restrict other plugins and register the real ones.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import argparse
import atexit
import dataclasses
import faulthandler
import importlib.metadata
import importlib.util
import sys
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest

from . import garbage, linux, long_output, memory
from .events import Events
from .forkrunner import ForkRunner
from .fresh_interpreters import FreshInterpreters
from .import_check import ImportCheck
from .kept import os
from .ledger import Ledger
from .missing import Missing
from .pressure import Pressure
from .sections import Sections
from .session import Phases, SessionLoop
from .settings import Settings
from .template_child import SingleTest

SETTINGS = Settings.take()
DEBUGGED = bool(os.environ.pop("PYO3TEST_DEBUGGED", ""))
"""Whether a debugger is in use: then no time limit applies, and no agent monitors the tests."""
EVENTS = Events(SETTINGS.events, SETTINGS.control) if SETTINGS is not None else None
SINGLE: SingleTest | None = None
"""In a child of the template, the test that it is for."""
WORLD: dict[str, Any] = {"path": list(sys.path), "argv": list(sys.argv)}
ENVIRONMENT = dict(os.environ)
"""WORLD and ENVIRONMENT are taken before a conftest or a plugin could change them: the template starts with them."""
if EVENTS is not None:
    # First in, last out: sent after all other exit handlers have run, so it is missing if one of them calls os._exit.
    atexit.register(EVENTS.send, "leave", pid=EVENTS.owner)
NOTES_KEY = pytest.StashKey["list[str]"]()
WORKERS_KEY = pytest.StashKey[int]()
RUNNER_KEY = pytest.StashKey[ForkRunner]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add `--forked` as pytest-forked does. The agent blocks that plugin: two that add the option are an error."""
    _stand_in(pluginmanager)
    group = parser.getgroup("forked", "forked subprocess test execution")
    group.addoption(
        "--forked",
        action="store_true",
        dest="forked",
        default=False,
        help="run each test in a forked child (carried out by pyo3test)",
    )
    group.addoption(
        "--forked-subprocess",
        action="store_true",
        dest="forked_subprocess",
        default=False,
        help="run each test in a fresh interpreter, forked from a process that has loaded nothing of the project",
    )
    group.addoption(
        "--collect-garbage",
        action="store_true",
        dest="collect_garbage",
        default=False,
        help="free what a test in pytest's own process has left in cycles at its end, as forked tests always do",
    )

    if (SETTINGS is not None or DEBUGGED) and importlib.util.find_spec("xdist") is None:
        # pytest keeps short options in lower case to itself and to those that know this.
        group._addoption(
            "-n",
            "--numprocesses",
            dest="numprocesses",
            type=_number_of_processes,
            default=None,
            help="how many tests run at once, as with pytest-xdist (carried out by pyo3test)",
        )


def _number_of_processes(text: str) -> str:
    if text not in ("auto", "logical") and not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, auto or logical")
    return text


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, Any, None]:
    """Before pytest-cov checks for it, make sure that xdist distributes no tests."""
    early_config.addinivalue_line("markers", "forked: Always fork for this test.")
    if _at_work(early_config.known_args_namespace):
        _take_workers(early_config, early_config.known_args_namespace)
    if SINGLE is not None and hasattr(early_config.known_args_namespace, "cov_append"):
        early_config.known_args_namespace.cov_append = True  # or it would erase what the others have measured
    yield


def pytest_configure(config: pytest.Config) -> None:
    """Collect garbage as a conftest with a fixture for each test would, for projects that do not want one."""
    config.pluginmanager.register(garbage.COLLECTOR, "pyo3test_collector")
    if config.getoption("collect_garbage"):
        config.pluginmanager.register(garbage.Garbage(), "pyo3test_garbage")


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, None]:
    """Before xdist acts, take its number of processes as the number of concurrent children."""
    if _at_work(config.option):
        _take_workers(config, config.option)
    if SETTINGS is not None and SINGLE is not None:
        _start_single_test(config, SETTINGS, SINGLE)
    elif SETTINGS is not None and EVENTS is not None:
        _start(config, SETTINGS, EVENTS)
    elif not DEBUGGED and _at_work(config.option):
        _start(config, Settings.without_agent(), Events(-1, -1))
    yield


def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """In a forked child: run the test.

    This is here, not in ForkRunner, because of the order. This module is registered after pytest's own runner, so it is
    called before that one; and before all other plugins and conftests, so those that override the protocol are called
    before us.
    """
    runner = item.config.stash.get(RUNNER_KEY, None)
    return runner.protocol(item) if runner is not None else None


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item) -> bool | None:
    """Set no timer: time is kept outside this process. pytest-timeout's alarm would fire in the wrong one, or never."""
    return True if SETTINGS is not None or DEBUGGED else None


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> bool | None:
    """Cancel no timer: there is none."""
    return True if SETTINGS is not None or DEBUGGED else None


def _at_work(options: Any) -> bool:
    """Report whether the plugin runs the tests: there is an agent, or one of the plugin's options asks for it."""
    asked = getattr(options, "forked", False) or getattr(options, "forked_subprocess", False)
    return SETTINGS is not None or DEBUGGED or asked


def _stand_in(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let this plugin satisfy `required_plugins = pytest-forked` if pytest-forked is installed."""
    try:
        forked = SimpleNamespace(project_name="pytest-forked", version=importlib.metadata.version("pytest-forked"))
    except importlib.metadata.PackageNotFoundError:
        return
    loaded = pluginmanager.list_plugin_distinfo
    pluginmanager.list_plugin_distinfo = lambda: [*loaded(), (None, forked)]  # type: ignore[method-assign, list-item]


def _take_workers(config: pytest.Config, options: Any) -> None:
    """Disable xdist, and keep the number of processes that it was given."""
    notes = config.stash.setdefault(NOTES_KEY, [])
    wanted = getattr(options, "numprocesses", None)
    distribution = getattr(options, "dist", "no")
    if wanted:
        count = _processors(config) if wanted in ("auto", "logical") else int(wanted)
        limit = getattr(options, "maxprocesses", None)
        config.stash[WORKERS_KEY] = min(count, int(limit)) if limit else count
        note = f"-n {wanted} taken as {config.stash[WORKERS_KEY]} workers"
        if note not in notes:
            notes.append(note)
    elif distribution not in ("no", None) or getattr(options, "tx", None):
        notes.append(f"--dist {distribution} left out: tests are not distributed by pytest-xdist here")
    for name, value in (("numprocesses", None), ("dist", "no"), ("tx", []), ("distload", False)):
        if hasattr(options, name):
            setattr(options, name, value)


def _processors(config: pytest.Config) -> int:
    named = os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS", "")
    if named.isdigit():
        return int(named)
    return len(os.sched_getaffinity(0))


def _start(config: pytest.Config, settings: Settings, events: Events) -> None:
    """Register the plugins that need the configuration, and prepare to be inspected from outside."""
    linux.allow_tracing()
    if settings.out:
        memory.choose_tests_first()
    notes = config.stash[NOTES_KEY]
    wanted = config.stash.get(WORKERS_KEY, 0)
    workers = settings.workers or wanted or 1
    if settings.isolation == "inprocess":
        if config.getoption("forked"):
            notes.append("--forked overruled: this group runs in-process")
        if workers > 1:
            notes.append(f"{workers} workers overruled: in-process tests run one after the other")
        workers = 1
    elif settings.workers and wanted and wanted != settings.workers:
        notes.append(f"{settings.workers} workers asked for by the group")
    isolation = settings.isolation
    if isolation == "forked" and config.getoption("forked_subprocess"):
        isolation = "subprocess"
        notes.append("--forked-subprocess: each test has a fresh interpreter")
    if settings.out:
        notes += _disarmed(config)
    built = ImportCheck(settings.modules)
    ledger = Ledger(config, events)
    fresh = None
    if isolation == "subprocess":
        fresh = FreshInterpreters(
            config, {**WORLD, "settings": dataclasses.asdict(settings)}, ENVIRONMENT, bool(settings.out)
        )
        config.add_cleanup(fresh.close)
    runner = ForkRunner(config, events, ledger, workers, fresh)
    loop = SessionLoop(config, events, ledger, runner, built, isolation, workers, notes)
    reports = {"missing": Missing(events), "sections": Sections(events)}
    _register(config, settings, runner, built, ledger=ledger, session=loop, **reports)


def _register(
    config: pytest.Config, settings: Settings, runner: ForkRunner, built: ImportCheck, **others: object
) -> None:
    """Register the plugins that both pytest itself and the template's children need, and others by their names."""
    if settings.stacks_signal:
        _register_stacks(settings)
    config.stash[long_output.KEY] = long_output.LongOutput(settings.out)
    config.stash[RUNNER_KEY] = runner
    if settings.pressure is not None:
        others["pressure"] = Pressure(settings.pressure)
    for name, plugin in {**others, "forkrunner": runner, "phases": Phases(runner), "built": built}.items():
        config.pluginmanager.register(plugin, f"pyo3test_{name}")


def begin_single_test(settings: dict[str, Any], single: SingleTest) -> None:
    """Set up a child of the template, before its pytest begins."""
    global SETTINGS, SINGLE
    SETTINGS, SINGLE = Settings(**settings), single


def _start_single_test(config: pytest.Config, settings: Settings, single: SingleTest) -> None:
    """Do the same as `_start` in a child of the template, which reports only to its parent."""
    events = Events(-1, -1)
    ledger = Ledger(config, events)
    ledger.muted = True
    built = ImportCheck(settings.modules)
    built.told.update(single.request["foreign"])
    single.runner = ForkRunner(config, events, ledger, 1)
    single.prepare(config)
    _register(config, settings, single.runner, built, single=single)


def _disarmed(config: pytest.Config) -> list[str]:
    """Return notes on the project's own watchdogs, which fire in the wrong process or never."""
    notes = []
    seconds, ends = Ledger.faulthandler_timeout(config)
    if seconds and ends:
        notes.append("faulthandler_timeout: it is the tests' budget, kept from outside; its own end of pytest is off")
    elif seconds:
        notes.append("faulthandler_timeout switched off: with it, a forked test that fails hangs")
    if Ledger.project_timeout(config):
        notes.append("pytest-timeout: its limits are the tests' budgets, kept from outside; its own alarms are off")
    return notes


def _register_stacks(settings: Settings) -> None:
    """On a signal, write Python stacks to a file: the agent uses it if it may not trace.

    Forked children inherit both. The signal is a real-time one that no test is likely to use.
    """
    try:
        fd = linux.move_high(os.open(settings.stacks, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
        faulthandler.register(settings.stacks_signal, file=fd, all_threads=True, chain=False)
    except (OSError, ValueError, AttributeError, RuntimeError):
        pass  # stacks from outside are the rule, these are the fallback
