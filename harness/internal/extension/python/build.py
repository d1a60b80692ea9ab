"""Works in a build container: sources in; in the phase "dependencies" what the tests need, in "build" native modules out.

Reads one JSON object on standard input and writes JSON lines on standard output: ``{"phase": ...}`` as it enters a
phase, ``{"line": ...}`` for each line that a tool prints, and last ``{"result": ...}`` or ``{"error": ..., "phase": ...}``.

The sources were unpacked into an empty folder just before. The target folder is a volume that outlives the container.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOURCES = Path("/src")
CACHE = Path("/cache")  # a volume that all crates share: cargo's registry, uv's wheels
TARGET = Path("/build")  # a volume of this crate's own
BUILT = Path("/opt/pyo3test/built")
TOOLS = Path("/opt/pyo3test/tools/bin")
VENV = Path("/opt/venv")
SCRATCH = Path("/run/pyo3test")  # a tmpfs: settings and credentials, in no layer

INSTALL = [str(TOOLS / "uv"), "pip", "install", "--quiet", "--python", str(VENV / "bin/python"), "--color", "never"]
NATIVE = re.compile(r"\.(so|pyd)$")
PYTHON_SOURCE = re.compile(r"\.py$")


class BuildError(Exception):
    """A phase that failed; the tool's own words have been relayed already."""


def say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def run(argv: list[str], cwd: Path, what: str) -> None:
    """Run a tool and relay what it prints, line by line."""
    say(line=what)
    with subprocess.Popen(
        argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            say(line=line.rstrip("\n")[:4000])
    if process.returncode != 0:
        raise BuildError(f"{what}: {Path(argv[0]).name} ended with status {process.returncode}")


def digest(path: Path) -> str:
    """The sha256 of a file, of a link's target, or of a folder's list of names."""
    if path.is_symlink():
        return hashlib.sha256(os.readlink(path).encode()).hexdigest()
    if path.is_dir():
        return hashlib.sha256("\0".join(sorted(os.listdir(path))).encode(errors="surrogateescape")).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def walk(top: Path) -> list[Path]:
    found = []
    for folder, folders, files in os.walk(top):
        found += [Path(folder, name) for name in folders + files]
    return sorted(found)


def restore_times() -> None:
    """Give each file the time at which its content was first seen here.

    Cargo trusts modification times: equal content must keep its time, or everything is compiled again; other content
    must get the time now, whatever time it came with, or the old program is kept.
    """
    manifest = TARGET / "manifest.json"
    try:
        known: dict[str, list[Any]] = json.loads(manifest.read_text())
    except (OSError, ValueError):
        known = {}
    now = time.time_ns()
    seen = {}
    # Children before their folder: setting a child's time leaves the folder's alone, so the order is only for neatness.
    for path in [*walk(SOURCES), SOURCES]:
        name, sha = str(path), digest(path)
        old = known.get(name)
        seen[name] = [sha, old[1] if old and old[0] == sha else now]
        os.utime(path, ns=(now, seen[name][1]), follow_symlinks=False)
    part = manifest.with_suffix(".part")
    part.write_text(json.dumps(seen))
    part.replace(manifest)


def install(config: dict[str, Any], crate: Path) -> None:
    """Install the test environment; uv keeps its wheels in the shared cache."""
    default, chosen = config["default"], config["dependencies"]
    if default:
        path = SCRATCH / "default.txt"
        path.write_text(default)
        run([*INSTALL, "--require-hashes", "-r", str(path)], crate, "installing the default test environment")
    # An index's copy of the project must not be tested: maturin alone builds it.
    own = SCRATCH / "own.txt"
    own.write_text(config["project"])
    chosen_install = [*INSTALL, "--excludes", str(own)] if config["project"] else INSTALL
    if chosen["lock"]:
        install_lock(chosen["lock"], chosen_install, crate, chosen["from"])
    together = list(chosen["requirements"])
    names = [chosen["from"] or "what the project needs"] if together else []
    for index, file in enumerate(chosen["files"]):
        path, bounds = SCRATCH / f"requirements-{index}.txt", SCRATCH / f"constraints-{index}.txt"
        path.write_text(file["text"])
        bounds.write_text(file["constraints"])
        arguments = ["-r", str(path), "-c", str(bounds)]
        if "--hash=" in file["text"]:
            run([*chosen_install, "--require-hashes", *arguments], crate, f"installing {file['name']}")
        else:
            together += arguments
            names.append(file["name"])
    if together:
        run([*chosen_install, *together], crate, "installing " + ", ".join(dict.fromkeys(names)))
    if not any((VENV / "lib").glob("python*/site-packages/pytest/__init__.py")):
        raise BuildError(
            f"no pytest in the test environment: {chosen['from']} leaves it out; set Requirements in the Suite"
        )


def install_lock(lock: dict[str, Any], argv: list[str], crate: Path, name: str) -> None:
    """Install what a lock file has locked, never the project: that would build it."""
    listing = crate / "pylock.toml"
    if lock["kind"] == "uv":
        listing = SCRATCH / "uv-lock.txt"
        export = [
            str(TOOLS / "uv"),
            "export",
            "--quiet",
            "--frozen",
            "--no-emit-project",
            "--no-default-groups",
            "--no-header",
        ]
        export += ["--no-annotate", "--python", str(VENV / "bin/python"), "--output-file", str(listing)]
        for kind in ("group", "extra"):
            for each in lock[kind + "s"]:
                export += [f"--{kind}", each]
        run(export, crate, f"reading {name}")
    run([*argv, "-r", str(listing)], crate, f"installing {name}")


def toolchain(crate: Path) -> list[str]:
    """Have rustup honour a rust-toolchain file where there is a rustup; else say which Rust it is instead.

    What rustup installs goes to the shared cache: this container is thrown away.
    """
    folders = [folder for folder in (crate, *crate.parents) if SOURCES in (folder, *folder.parents)]
    files = [folder / name for folder in folders for name in ("rust-toolchain", "rust-toolchain.toml")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return []
    if shutil.which("rustup"):
        home, cached = Path(os.environ.get("RUSTUP_HOME", "/usr/local/rustup")), CACHE / "rustup"
        (cached / "toolchains").mkdir(parents=True, exist_ok=True)
        for built_in in home.glob("toolchains/*"):
            link = cached / "toolchains" / built_in.name
            if not link.is_symlink():
                link.symlink_to(built_in)
        if (home / "settings.toml").exists():
            shutil.copyfile(home / "settings.toml", cached / "settings.toml")
        os.environ.update(RUSTUP_HOME=str(cached), RUSTUP_AUTO_INSTALL="1")
        return []
    text = file.read_text()
    try:
        channel = str(tomllib.loads(text)["toolchain"]["channel"])
    except (ValueError, KeyError, TypeError):
        channel = text.strip()
    version = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if channel == "stable" or version.startswith((f"rustc {channel}.", f"rustc {channel} ")):
        return []
    return [f"{file} asks for Rust {channel}; the base image has no rustup, so this was built with {version}"]


def build(config: dict[str, Any], crate: Path) -> Path:
    """Build an editable wheel, as ``maturin develop`` does, but leave every installing to uv."""
    wheels = SCRATCH / "wheels"
    wheels.mkdir()
    argv = [str(TOOLS / "maturin"), "pep517", "build-wheel", "--editable", "--compatibility", "off"]
    argv += ["-i", str(VENV / "bin/python"), "--out", str(wheels), "--profile", config["profile"]]
    if config["features"]:
        argv += ["--features", ",".join(config["features"])]
    if config["no_default_features"]:
        argv += ["--no-default-features"]
    run([*argv, *config["maturin_args"]], crate, "building with maturin")
    (wheel,) = wheels.glob("*.whl")
    return wheel


def keep_lock(workspace: Path) -> Callable[[], None]:
    """Where the project has no Cargo.lock, keep the one that the first build made, or its dependencies would float.

    Returns what to do after the build.
    """
    lock, kept = workspace / "Cargo.lock", TARGET / "Cargo.lock"
    if lock.exists():
        return lambda: None
    if kept.exists():
        shutil.copyfile(kept, lock)

    def keep() -> None:
        shutil.copyfile(lock, kept)

    return keep


def lift(before: set[Path]) -> list[str]:
    """Move what the build wrote into the sources to the image, with its relative paths, and say what it was."""
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
    """``rtoml/_rtoml.cpython-311-x86_64-linux-gnu.so`` is the module ``rtoml._rtoml``."""
    return ".".join([*path.parent.parts, path.name.split(".")[0]])


def modules(lifted: list[str], distribution: str, python_sources: list[Path]) -> list[dict[str, str]]:
    """Name the native modules: those in site-packages by the wheel's own record, those in the sources by their place."""
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
    """The folders that the editable wheel put on the path."""
    roots = []
    for path in (VENV / "lib").glob("python*/site-packages/*.pth"):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("/"):
                roots.append(Path(line))
    return roots


def python_inputs(python_files: list[Path], workspace: Path) -> tuple[list[str], bool]:
    """Python files that the compiler or a build script may have read: only an edit of these is cargo's matter.

    Also whether a build script looks at all there are, so that a new one is its matter too.
    """
    every = False
    names = set()
    local_scripts = set()
    for listing in TARGET.glob("target/**/*.d"):
        sources = listing.read_text(errors="replace")
        names.update(Path(source).name for source in re.findall(r"\S+\.pyi?\b", sources))
        local = listing.name.startswith("build_script_") and os.environ["CARGO_HOME"] not in sources
        # The target folder keeps the traces of scripts that are gone.
        if local and any((workspace / source).is_file() for source in re.findall(r"\S+\.rs\b", sources)):
            local_scripts.add(listing.parent.name.rsplit("-", 1)[0])
    chosen = [path for path in python_files if path.name in names]
    for output in TARGET.glob("target/**/build/*/output"):
        if output.parent.name.rsplit("-", 1)[0] not in local_scripts:
            continue
        watched = re.findall(
            r"^cargo::?rerun-if-(?:changed=(.*)|env-changed)", output.read_text(errors="replace"), re.MULTILINE
        )
        if not watched or not all(name == "" or name.endswith(".rs") for name in watched):
            every, chosen = True, python_files  # cargo then looks at each file of the package, or at whole folders
    return sorted(str(path.relative_to(SOURCES)) for path in chosen), every


def resolved() -> list[str]:
    """What is installed in the test environment, as name==version."""
    listing = subprocess.run(
        [str(TOOLS / "uv"), "pip", "freeze", "--python", str(VENV / "bin/python"), "--color", "never"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [line for line in listing.stdout.splitlines() if line and not line.startswith("-e")]


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def share_cargo() -> None:
    """Let cargo keep what it fetches where all builds do, with the locks that keep two of them from unpacking one crate."""
    for name in ("registry", "git"):
        (CACHE / "cargo" / name).mkdir(parents=True, exist_ok=True)
    for name in ("registry", "git", ".package-cache", ".package-cache-mutate"):
        link = Path(os.environ["CARGO_HOME"], name)
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(CACHE / "cargo" / name)


def environment(config: dict[str, Any], crate: Path) -> dict[str, Any]:
    """Install what the tests need. Editable installs may write into the sources, which is kept like the build's own."""
    before = set(walk(SOURCES))
    install(config, crate)
    lift(before)
    return {}


def extension(config: dict[str, Any], crate: Path) -> dict[str, Any]:
    """Build the crate and install what was built."""
    share_cargo()
    restore_times()
    before = set(walk(SOURCES))
    lock = keep_lock(SOURCES / config["workspace"])
    notes = toolchain(crate)
    wheel = build(config, crate)
    run([*INSTALL, "--no-deps", "--reinstall", str(wheel)], crate, "installing what was built")
    lock()
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


def main() -> None:
    config = json.load(sys.stdin)
    say(phase=config["phase"])
    try:
        work = {"dependencies": environment, "build": extension}[config["phase"]]
        result = work(config, SOURCES / config["crate"])
        empty(SOURCES)
    except BuildError as error:
        say(error=str(error), phase=config["phase"])
        sys.exit(1)
    say(result=result)


if __name__ == "__main__":
    main()
