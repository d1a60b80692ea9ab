"""Find out how plain pytest handles a project. The container's Python runs this in the tests' container.

    python probe.py FOLDER QUESTIONS     prints facts as JSON; pytest starts in the folder

The questions are JSON: the names of the built "modules"; what the project "requires", a version specifier each for
"python" and "maturin"; and the path of "oneprocess", the plugin's file that knows what needs one process.

This file is also the pytest plugin that reports from inside. No test of the project runs.
"""

from __future__ import annotations

import ast
import fnmatch
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT = 120
"""Seconds that one attempt may take."""
TOLD = 2000
"""Characters of a program's output that are reported, from its end."""
DISTRIBUTIONS = (
    "pytest",
    "pytest-forked",
    "pytest-timeout",
    "pytest-xdist",
    "pytest-cov",
    "coverage",
)
SETTINGS = (
    "addopts",
    "faulthandler_timeout",
    "filterwarnings",
    "python_files",
    "required_plugins",
    "testpaths",
    "timeout",
)
VARIABLE = "PYO3TEST_PROBE"


def pytest_configure(config: Any) -> None:
    """Record the settings, as the project has them."""
    if not os.environ.get(VARIABLE):
        return
    seen["inifile"] = str(config.inipath or "")
    seen["rootdir"] = str(config.rootpath)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the project may make errors of them, and newer versions warn of this
        given = dict(config.inicfg)
    raw = {name: getattr(value, "value", value) for name, value in given.items()}
    seen["settings"] = {name: raw[name] for name in SETTINGS if name in raw}
    options = config.option
    seen["forked"] = bool(getattr(options, "forked", False))
    seen["workers"] = str(getattr(options, "numprocesses", None) or "")
    seen["coverage"] = bool(getattr(options, "cov_source", None))
    seen["warnings"] = [str(line) for line in config.getini("filterwarnings")] + list(options.pythonwarnings or [])


def pytest_collectstart(collector: Any) -> None:
    """Record a file that pytest collects."""
    path = getattr(collector, "path", None)
    if path is not None and path.is_file():
        seen["files"].append(str(path))


def pytest_sessionfinish(session: Any) -> None:
    """Write what was seen to a file."""
    if os.environ.get(VARIABLE):
        import _pyo3test_oneprocess

        items = getattr(session, "items", [])
        seen["tests"] = len(items)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seen["oneprocess"] = _pyo3test_oneprocess.find(session.config, items)
        Path(os.environ[VARIABLE]).write_text(json.dumps(seen), encoding="utf-8")


seen: dict[str, Any] = {"files": []}


def run(command: list[str], folder: str, **more: str) -> tuple[int, str]:
    """Return a program's status, or -1 if it did not start or end, and the end of its output."""
    try:
        said = subprocess.run(
            command, check=False, cwd=folder, env={**os.environ, **more}, timeout=LIMIT,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return -1, f"no end within {LIMIT} s"
    except OSError as error:
        return -1, str(error)
    return said.returncode, said.stdout.decode("utf-8", "replace")[-TOLD:]


def session(folder: str, beside: str) -> dict[str, Any]:
    """Return what pytest sees when it runs without the harness."""
    with tempfile.TemporaryDirectory() as place:
        told = os.path.join(place, "told")
        shutil.copy(__file__, os.path.join(place, "_pyo3test_probe.py"))
        shutil.copy(beside, os.path.join(place, "_pyo3test_oneprocess.py"))
        path = os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH", "")]))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "_pyo3test_probe",
        ]
        status, said = run(command, folder, PYTHONPATH=path, **{VARIABLE: told})
        try:
            facts = json.loads(Path(told).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            facts = {}
    return {"status": status, "said": said, **facts}


def pair(strict: bool) -> str:
    """Return what is wrong with pytest-forked and this pytest, "" if a passing test passes."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, "test_passes.py").write_text("def test_passes():\n    pass\n", encoding="utf-8")
        Path(place, "pytest.ini").write_text("[pytest]\n" + "filterwarnings = error\n" * strict, encoding="utf-8")
        status, said = run([sys.executable, "-m", "pytest", "--forked", "-q", "-p", "no:cacheprovider"], place)
    if status == 0:
        return ""
    lines = [line for line in said.splitlines() if "EXITED" in line or "CRASHED" in line or "rror" in line]
    words = (lines or said.splitlines() or [f"status {status}"])[0]
    return words.removeprefix(place).partition("test_passes.py:0: ")[2] or words


def threads(name: str, folder: str) -> list[str]:
    """Return the names of the threads that exist after the import of a module, except the importing one."""
    program = (
        "import importlib, os, sys, time\n"
        "before = set(os.listdir('/proc/self/task'))\n"
        "importlib.import_module(sys.argv[1])\n"
        "time.sleep(0.2)\n"  # until they have their names, or have ended
        "for task in set(os.listdir('/proc/self/task')) - before:\n"
        "    print('thread:' + open(f'/proc/self/task/{task}/comm').read().strip(), flush=True)\n"
        "os._exit(0)\n"
    )
    _, said = run([sys.executable, "-P", "-c", program, name], folder)
    return sorted(line.removeprefix("thread:") for line in said.splitlines() if line.startswith("thread:"))


def python_files(folder: Path, ignored: list[str]) -> list[Path]:
    """Return the project's Python files, but for those in folders whose name matches a pattern."""
    found = []
    for at, names, here in os.walk(folder):
        names[:] = sorted(
            each
            for each in names
            if not any(fnmatch.fnmatch(each, pattern) for pattern in ignored)
            and not (Path(at) / each / "pyvenv.cfg").exists()
        )
        found += [Path(at, each) for each in sorted(here) if each.endswith(".py")]
    return found


def hides(tree: ast.Module, wanted: Callable[[str], bool]) -> list[tuple[int, str]]:
    """Return the lines that hide a failed import of a module that is wanted, each with a description."""
    found = []

    def ours(node: ast.AST) -> str:
        names = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        return next((name for name in names if wanted(name.split(".")[0])), "")

    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
            if called == "importorskip" and wanted(str(name).split(".")[0]):
                found.append((node.lineno, f"importorskip({name!r})"))
        if isinstance(node, ast.Try):
            name = next((ours(each) for part in node.body for each in ast.walk(part) if ours(each)), "")
            for handler in node.handlers if name else []:
                caught = (
                    {getattr(each, "id", "") for each in ast.walk(handler.type)} if handler.type else {"BaseException"}
                )
                fails = any(isinstance(each, ast.Raise) for part in handler.body for each in ast.walk(part))
                fails = fails or any(
                    getattr(each.func, "attr", getattr(each.func, "id", "")) in ("fail", "exit")
                    for part in handler.body for each in ast.walk(part) if isinstance(each, ast.Call)
                )  # fmt: skip
                if caught & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"} and not fails:
                    found.append((node.lineno, f"a failed import of {name} is caught"))
                    break
    return found


def tests_of(tree: ast.Module) -> list[str]:
    """Return the names of the functions and methods that pytest would run by default."""
    found = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            found.append(node.name)
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            found += [
                f"{node.name}.{each.name}"
                for each in node.body
                if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)) and each.name.startswith("test_")
            ]
    return found


def sources(folder: Path, modules: list[str], collected: list[str], ignored: list[str]) -> dict[str, Any]:
    """Return the hidden imports and the uncollected tests in the project's Python files."""
    built = {name.split(".")[0] for name in modules}
    looked = {os.path.realpath(each) for each in collected}
    hidden, missing, unfound = [], [], []
    for path in python_files(folder, ignored):
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue
        name = str(path.relative_to(folder))
        tests = tests_of(tree)
        if path.name == "conftest.py" or tests or os.path.realpath(path) in looked:
            hidden += [{"file": name, "line": line, "words": words} for line, words in hides(tree, built.__contains__)]

            def lacks(module: str, at: Path = path) -> bool:
                return module not in built and not installed(module, at, folder)

            lacking = hides(tree, lacks)
            missing += [{"file": name, "line": line, "words": words} for line, words in lacking]
        if tests and os.path.realpath(path) not in looked and path.name != "conftest.py":
            unfound.append({"file": name, "tests": len(tests), "first": tests[0]})
    return {"hidden": hidden, "missing": missing, "unfound": unfound}


def installed(module: str, file: Path, folder: Path) -> bool:
    """Report whether a file of tests can import a module: from the environment, the project or a folder above it."""
    for above in (folder, *file.parents):
        if (above / module).is_dir() or any(above.glob(f"{module}.*")):
            return True
        if above == folder:
            break
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def machine() -> dict[str, Any]:
    """Return facts about the kernel, the disk and the tools."""
    try:
        scope = int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text(encoding="ascii"))
    except (OSError, ValueError):
        scope = 0
    disk = shutil.disk_usage("/")
    commands = {"maturin": "/opt/pyo3test/tools/bin/maturin", "rustc": "rustc"}
    tools = {name: run([command, "--version"], "/")[1].strip() for name, command in commands.items()}
    return {"ptrace_scope": scope, "disk_free": disk.free, "tools": tools}


def locked(folder: str, crate: str) -> str:
    """Return the version of a crate in the Cargo.lock of the build, "" if there is none."""
    for above in (Path(folder), *Path(folder).parents):
        try:
            packages = tomllib.loads((above / "Cargo.lock").read_text(encoding="utf-8")).get("package", [])
        except (OSError, ValueError):
            continue
        return next((str(each["version"]) for each in packages if each.get("name") == crate), "")
    return ""


def fits(version: str, wanted: str) -> bool:
    """Return whether a specifier allows a version; an invalid specifier allows any."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(wanted).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True


def main() -> None:
    """Collect all facts and print them."""
    folder, asked = sys.argv[1], json.loads(sys.argv[2])
    modules = asked["modules"]
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    found = session(folder, asked["oneprocess"])
    forked = {}
    if "pytest-forked" in versions:
        forked = {"broken": pair(False), "broken_by_warnings": pair(True)}
    kernel = machine()
    python = ".".join(map(str, sys.version_info[:3]))
    there = {"python": python, "maturin": kernel["tools"]["maturin"].split(" ")[-1]}
    facts = {
        "python": python,
        "unfit": {name: there[name] for name, wanted in asked["requires"].items() if not fits(there[name], wanted)},
        "versions": versions,
        "pyo3": locked(folder, "pyo3"),
        "session": found,
        "pair": forked,
        "threads": {name: left for name in modules if (left := threads(name, folder))},
        "sources": sources(Path(folder), modules, found.get("files", []), asked["ignored"]),
        "machine": kernel,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
