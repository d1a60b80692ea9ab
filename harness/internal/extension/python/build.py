"""Prepare and build a crate in a build container, with the sources in an otherwise empty folder.

There are four phases of a build, each in its own container:

"dependencies" installs what the tests need, "fetch" downloads the crates that cargo builds from and runs none of the
project's code, "crates" compiles them, without the project's code too, and "build" compiles without a network and
produces native modules. "restore" installs the exact packages of a run, for what was built elsewhere, and "vendor" puts what
"fetch" downloaded into the container, so that its image needs no network to build.

The program reads one JSON object from standard input and writes JSON lines to standard output: ``{"phase": ...}`` as it
enters a phase, ``{"line": ...}`` for each line that a tool prints, and last ``{"result": ...}``, ``{"missing": true}``
if "fetch" has to run first, or ``{"error": ..., "phase": ...}``.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import crates
import fetch
import install
from common import BUILT, DELAYS, INSTALL, SCRATCH, SOURCES, TARGET, TOOLS, VENV, BuildError, run, say, walk

NATIVE = re.compile(r"\.(so|pyd)$")
PYTHON_SOURCE = re.compile(r"\.py$")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, of a link's target, or of a folder's list of names."""
    if path.is_symlink():
        return hashlib.sha256(os.readlink(path).encode()).hexdigest()
    if path.is_dir():
        return hashlib.sha256("\0".join(sorted(os.listdir(path))).encode(errors="surrogateescape")).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def restore_times() -> None:
    """Give each file the time at which its content was first seen here.

    Cargo trusts modification times. Equal content must keep its time, or everything is compiled again. New content must
    get the current time, whatever time it came with, or cargo keeps the old program.
    """
    manifest = TARGET / "manifest.json"
    try:
        known: dict[str, list[Any]] = json.loads(manifest.read_text())
    except (OSError, ValueError):
        known = {}
    now = time.time_ns()
    seen: dict[str, tuple[str, int]] = {}
    # Children before their folder: setting a child's time does not change the folder's, so the order is only for
    # neatness.
    for path in [*walk(SOURCES), SOURCES]:
        name, sha = str(path), digest(path)
        old = known.get(name)
        seen[name] = (sha, int(old[1]) if old and old[0] == sha else now)
        os.utime(path, ns=(now, seen[name][1]), follow_symlinks=False)
    part = manifest.with_suffix(".part")
    part.write_text(json.dumps(seen))
    part.replace(manifest)


HOOKS = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-trace-pc-guard",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    f"-Clink-arg={DELAYS}",
]
"""With these, rustc puts a call at each edge of the control flow. They are for the crate alone: build scripts and macros
would not run with them. The module needs the library with the calls; a process that has not preloaded it can import the
module all the same."""


def build(config: dict[str, Any], crate: Path, relay: bool = True) -> Path:
    """Build an editable wheel, as ``maturin develop`` does, but leave the installation to uv."""
    wheels = SCRATCH / "wheels"
    wheels.mkdir()
    argv = [str(TOOLS / "maturin"), "pep517", "build-wheel", "--editable", "--compatibility", "off"]
    argv += ["-i", str(VENV / "bin/python"), "--out", str(wheels), "--profile", config["profile"]]
    if config["features"]:
        argv += ["--features", ",".join(config["features"])]
    if config["no_default_features"]:
        argv += ["--no-default-features"]
    argv += config["maturin_args"]
    if config["hooks"] and config["phase"] == "build":
        if not DELAYS.exists():
            raise BuildError("there is no library for delays in the tools image: its base could not compile it")
        argv += HOOKS if "--" in argv else ["--", *HOOKS]
    run(argv, crate, "building with maturin", relay)
    (wheel,) = wheels.glob("*.whl")
    return wheel


def lift(before: set[Path]) -> list[str]:
    """Move what the build wrote into the sources to the image, keep its relative paths, and return these."""
    lifted = []
    for path in walk(SOURCES):
        if path in before or path.is_dir() and not path.is_symlink():
            continue
        name = path.relative_to(SOURCES)
        target = BUILT / "tree" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
        lifted.append(str(name))
    return lifted


def dotted(path: Path) -> str:
    """Return a file's module: ``rtoml/_rtoml.cpython-311-x86_64-linux-gnu.so`` is ``rtoml._rtoml``."""
    return ".".join([*path.parent.parts, path.name.split(".")[0]])


def modules(lifted: list[str], distribution: str, python_sources: list[Path]) -> list[dict[str, str]]:
    """Return the native modules: by the wheel's RECORD in site-packages, by their place in the sources."""
    found = []
    for record in (VENV / "lib").glob(f"python*/site-packages/{distribution}-*.dist-info/RECORD"):
        site = record.parent.parent
        for row in csv.reader(record.read_text().splitlines()):
            if row and NATIVE.search(row[0]) and not row[0].startswith(".."):
                found.append({"name": dotted(Path(row[0])), "path": str(site / row[0])})
    for name in lifted:
        if not NATIVE.search(name):
            continue
        path = SOURCES / name
        roots = [root for root in python_sources if root in path.parents]
        if roots:
            root = max(roots, key=lambda root: len(root.parts))
            found.append({"name": dotted(path.relative_to(root)), "path": str(path)})
    for module in found:
        actual = (
            BUILT / "tree" / Path(module["path"]).relative_to(SOURCES)
            if module["path"].startswith("/src/")
            else Path(module["path"])
        )
        module["sha256"] = digest(actual)
    return found


def editable_roots() -> list[Path]:
    """Return the folders that the editable wheel put on the path."""
    roots = []
    for path in (VENV / "lib").glob("python*/site-packages/*.pth"):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("/"):
                roots.append(Path(line))
    return roots


def dependencies(listing: Path) -> list[str]:
    """Return the files that a dependency listing of rustc names. Spaces in names are escaped in it."""
    text = listing.read_text(errors="replace")
    return [name.replace("\\ ", " ").removesuffix(":") for name in re.findall(r"(?:\\ |\S)+", text)]


def python_inputs(python_files: list[Path], workspace: Path) -> tuple[list[str], bool]:
    """Return the Python files that the compiler or a build script may have read: only edits of these concern cargo.

    Also return whether a build script may read any Python file, so that a new one concerns it too.
    """
    every = False
    names: set[str] = set()
    local_scripts = set()
    for listing in TARGET.glob("target/**/*.d"):
        sources = dependencies(listing)
        names.update(Path(source).name for source in sources if source.endswith((".py", ".pyi")))
        rust = [source for source in sources if source.endswith(".rs")]
        ours = not any(os.environ["CARGO_HOME"] in source for source in rust)
        local = listing.name.startswith("build_script_") and ours
        # The target folder keeps the traces of scripts that are gone.
        if local and any((workspace / source).is_file() for source in rust):
            local_scripts.add(listing.parent.name.rsplit("-", 1)[0])
    chosen = [path for path in python_files if path.name in names]
    behind = {path.resolve() for path in chosen if path.is_symlink()}
    chosen += [path for path in python_files if path in behind and path not in chosen]
    for output in TARGET.glob("target/**/build/*/output"):
        if output.parent.name.rsplit("-", 1)[0] not in local_scripts:
            continue
        watched = re.findall(
            r"^cargo::?rerun-if-(?:changed=(.*)|env-changed)", output.read_text(errors="replace"), re.MULTILINE
        )
        if not watched or not all(name == "" or name.endswith(".rs") for name in watched):
            every, chosen = True, python_files  # cargo then watches every file of the package, or whole folders
    return sorted(str(path.relative_to(SOURCES)) for path in chosen), every


def resolved() -> list[str]:
    """Return what is installed in the test environment, as name==version."""
    listing = subprocess.run(
        [str(TOOLS / "uv"), "pip", "freeze", "--no-cache", "--python", str(VENV / "bin/python"), "--color", "never"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [line for line in listing.stdout.splitlines() if line and not line.startswith("-e")]


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def changes(folder: Path) -> dict[Path, int]:
    """Return when each file last changed, by its ctime, which no program can set back."""
    return {path: path.lstat().st_ctime_ns for path in walk(folder) if path.is_symlink() or not path.is_dir()}


def check_untouched(installed: dict[Path, int]) -> None:
    """Raise an error if the build changed the test environment: the crate's tests and other builds start from it."""
    after = changes(VENV)
    for path in sorted({*installed, *after}):
        compiled = path not in installed and path.parent.name == "__pycache__"  # written by the first import
        if installed.get(path) != after.get(path) and not compiled:
            raise BuildError(f"the build has changed {path}: a build script must not write to the test environment")


def end_strays() -> None:
    """Kill what the build left running: it could still write to what was built while that is saved."""
    mine = started(os.getpid())
    for _ in range(100):
        strays = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if started(pid) > mine]
        if not strays:
            return
        for pid in strays:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    raise BuildError(f"the build has left processes that do not end: {strays}")


def started(pid: int) -> int:
    """Return a process's start time in clock ticks, 0 if it has ended: proc(5), field 22 of stat."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def environment(config: dict[str, Any], crate: Path) -> dict[str, Any]:
    """Install what the tests need. Keep what editable installs write into the sources, as for a build."""
    before = set(walk(SOURCES))
    install.install(config, crate)
    lift(before)
    install.verify()
    return {}


def restored(config: dict[str, Any], crate: Path) -> dict[str, Any]:
    """Install the packages of an earlier run."""
    install.restore(config["installed"], crate)
    install.verify()
    return {}


def extension(config: dict[str, Any], crate: Path) -> dict[str, Any]:
    """Build the crate and install what was built."""
    before = set(walk(SOURCES))
    fetch.use(config, crate)
    crates.start_from_compiled()
    restore_times()
    notes = fetch.toolchain(crate)
    installed = changes(VENV)
    wheel = build(config, crate)
    end_strays()
    check_untouched(installed)
    run(
        [*INSTALL, "--no-cache", "--offline", "--no-deps", "--reinstall", str(wheel)],
        crate,
        "installing what was built",
    )
    lifted = lift(before)
    distribution = wheel.name.split("-")[0]
    built = modules(lifted, distribution, editable_roots())
    if not built:
        raise BuildError("maturin built no Python module: is this a library crate with crate-type cdylib?")
    inputs, every = python_inputs(
        [path for path in before if PYTHON_SOURCE.search(path.name) and path.is_file()], SOURCES / config["workspace"]
    )
    return {
        "distribution": distribution,
        "modules": built,
        "lifted": lifted,
        "notes": notes,
        "resolved": resolved(),
        "python_inputs": inputs,
        "every_python": every,
    }


def compiled_crates(config: dict[str, Any], crate: Path) -> dict[str, Any]:
    """Compile a skeleton. What it lacks may make the last steps fail; the crates are compiled by then."""
    fetch.use(config, crate)
    fetch.toolchain(crate)
    with contextlib.suppress(BuildError):
        build(config, crate, relay=False)
    crates.remove_own(TARGET / "target", crates.own_names())
    if not any((TARGET / "target").rglob("*.rlib")):
        raise BuildError("no crate was compiled")
    return {}


def main() -> None:
    config = json.load(sys.stdin)
    say(phase=config["phase"])
    try:
        phases = {
            "dependencies": environment,
            "fetch": fetch.fetch,
            "crates": compiled_crates,
            "build": extension,
            "restore": restored,
            "vendor": fetch.vendor,
        }
        result = phases[config["phase"]](config, SOURCES / config["crate"])
        empty(SOURCES)
    except fetch.NotFetched:
        say(missing=True)
        return
    except BuildError as error:
        say(error=str(error), phase=config["phase"])
        sys.exit(1)
    say(result=result)


if __name__ == "__main__":
    main()
