"""Start pytest, or import modules, in the environment that the `pytest` console script of this interpreter has.

The agent runs this file with the test environment's Python:

    launch.py run ARGS...        pytest, with our plugin package importable under its name
    launch.py import FD MODULES  import each module and report the results as JSON lines on the descriptor
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import traceback

PACKAGE = "pyo3test_plugin"
UNTIMELY = 70
"""The exit status if something ended the interpreter under pytest: not one of pytest's own."""


SHARES = ("/sys/fs/cgroup/cpu.weight", "/sys/fs/cgroup/cpu/cpu.shares")
"""Where the kernel shows a container's own share of the processors; without such a file, the container has none."""
LAST = 19


def let_the_agent_go_first() -> None:
    """Lower our priority: a test that starts thousands of processes must leave the agent the time to end them.

    In a container with its own share this costs the tests nothing: they compete only with the agent.
    """
    if any(os.path.exists(path) for path in SHARES):
        os.setpriority(os.PRIO_PROCESS, 0, LAST)


def disguise() -> None:
    """Give sys.path and sys.argv the values that the `pytest` script would have."""
    scripts = os.path.dirname(os.path.abspath(sys.executable))
    # Python puts this file's folder first, unless PYTHONSAFEPATH forbids it.
    if sys.path and os.path.realpath(sys.path[0] or ".") == os.path.dirname(os.path.realpath(__file__)):
        sys.path[0] = scripts
    sys.argv[0] = os.path.join(scripts, "pytest")


def preload() -> None:
    """Make the plugin package importable without a trace in sys.path or PYTHONPATH, which tests may inspect."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "site", PACKAGE)
    spec = importlib.util.spec_from_file_location(
        PACKAGE, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


def run() -> int:
    """Run pytest."""
    disguise()
    preload()
    import pytest

    try:
        status = pytest.main()  # the function that the script calls is named differently in each pytest version
    except SystemExit:  # not from pytest itself, but from a conftest or a plugin: 0 would look like a success
        traceback.print_exc()
        status = UNTIMELY
    sys.stdout.flush()
    return int(status)


def check_imports(fd: int, modules: list[dict[str, str]]) -> None:
    """Import the modules, check that they are what was built, and exit without the interpreter's own shutdown.

    Native threads may hang or crash that shutdown, which is not what this checks.
    """
    import faulthandler

    os.set_inheritable(fd, False)
    faulthandler.enable()  # to stderr, which is the agent's import.log
    disguise()
    preload()
    linux = importlib.import_module(f"{PACKAGE}.linux")
    linux.allow_tracing()
    for wanted in modules:
        name = wanted["name"]
        tell(fd, {"importing": name})
        try:
            module = importlib.import_module(name)
        except BaseException as error:
            text = "".join(traceback.format_exception_only(type(error), error)).strip()
            tell(fd, {"module": name, "ok": False, "file": "", "error": text, "traceback": without_us(error)})
            continue
        file = str(getattr(module, "__file__", None) or "")
        wrong = not_built(file, wanted)
        tell(fd, {"module": name, "ok": not wrong, "file": file, "error": wrong, "traceback": ""})
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
    os._exit(0)


def not_built(file: str, wanted: dict[str, str]) -> str:
    """Return why the file of a module is not the one that was built, or an empty string."""
    if os.path.realpath(file) != os.path.realpath(wanted["file"]):
        return f"it was imported from {file or 'no file'}, and what was built is {wanted['file']}"
    import hashlib

    with open(file, "rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != wanted["sha256"]:
            return f"{file} is not the file that was built: something changed it"
    return ""


def without_us(error: BaseException) -> str:
    """Return the traceback without the frames of this file and of importlib's entry."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in (__file__, importlib.__file__):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def tell(fd: int, result: dict[str, object]) -> None:
    """Write one line with one write."""
    os.write(fd, json.dumps(result).encode("ascii") + b"\n")


if __name__ == "__main__":  # multiprocessing's "spawn" imports this file again, as another module
    task = sys.argv.pop(1)
    let_the_agent_go_first()
    if task == "import":
        check_imports(int(sys.argv[1]), json.loads(sys.argv[2]))
    sys.exit(run())
