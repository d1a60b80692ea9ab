#!/usr/bin/env bash
# Runs the tests of a PyO3 crate on this machine, each in a forked process, without Docker and without Go:
#
#     test-python.sh [arguments of pytest]
#
# The crate is the nearest folder with a pyproject.toml, from the current one upwards, else from this file's. It is tested in a
# copy, with a virtual environment of its own, both in the user's cache folder: nothing of the crate or of the user's own
# environment is changed. The copy is built again exactly when sources other than Python's have changed.
#
# Where pyo3test_plugin.zip is beside this file, it carries out --forked, and --forked-subprocess; else pytest-forked
# does the former. What the tests need is what the project's dependency group or extra named test, tests, testing or dev says, else
# a requirements file, in the versions of uv.lock where there is one.
#
# PYO3_PYTHON names the Python to use; the default is the first of the usual names that is 3.11 or later. MATURIN_ARGS are
# further arguments of maturin's build; the default is --profile release.
set -euo pipefail

beside=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ -f $beside/pyo3test_plugin.zip ]]; then
    packages=('maturin>=1,<2' 'pytest>=7')
    plugin=(-p no:forked -p pyo3test_plugin.hooks)
else
    # The newest pytest with which pytest-forked works.
    packages=('maturin>=1,<2' pytest==9.1.1 pytest-forked==1.7.5)
    plugin=()
fi

say() { printf 'test-python: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }

find_python() {
    local candidate
    for candidate in "${PYO3_PYTHON:-}" python3 python python3.11 python3.12 python3.13 python3.14; do
        if [[ -n $candidate ]] && "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
        [[ -z ${PYO3_PYTHON:-} ]] || break
    done
    die "${PYO3_PYTHON:+PYO3_PYTHON=$PYO3_PYTHON is }no Python 3.11 or later with venv and ensurepip: install one (python3-venv on Debian)${PYO3_PYTHON:+, or name another}"
}

find_crate() {
    local folder
    for folder in "$PWD" "$beside"; do
        while [[ ! -f $folder/pyproject.toml && $folder != / ]]; do
            folder=$(dirname "$folder")
        done
        if [[ $folder != / ]]; then
            (cd "$folder" && pwd -P)
            return
        fi
    done
    die "no pyproject.toml in $PWD or a folder above it: go to the crate"
}

crate=$(find_crate)
python=$(find_python)
command -v cargo >/dev/null || die 'no cargo: install Rust (https://rustup.rs)'
home="${XDG_CACHE_HOME:-$HOME/.cache}/pyo3test/native/$(basename "$crate")-$(cksum <<<"$crate $python $("$python" -V)" | cut -d ' ' -f 1)"
mkdir -p "$home"
exec 9>"$home/lock"
if command -v flock >/dev/null; then
    flock 9 # two at once would build in one folder
fi

# What of the host's tree the crate needs, what to install, and a copy that changes where the tree has changed.
plan() {
    "$python" - "$crate" "$home" <<'PYTHON'
"""Copies the crate's tree where its content differs, and prints what is to be done, as shell variables."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

crate, home = map(Path, sys.argv[1:])
copy, built, copied = home / "copy", home / "built", home / "copied.json"
left_out = {".git", "__pycache__", ".venv", "venv", ".tox", ".nox", ".pytest_cache", ".mypy_cache", "node_modules"}


def root() -> Path:
    """The folder that holds the crate, its workspace and its path dependencies."""
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--manifest-path"]
    folders, seen = {crate}, set()
    for manifest in (manifests := [crate / project["tool"]["maturin"].get("manifest-path", "Cargo.toml")]):
        if manifest in seen or not manifest.is_file():
            continue
        seen.add(manifest)
        said = subprocess.run([*command, str(manifest)], stdout=subprocess.PIPE)
        if said.returncode != 0:
            sys.exit(2)
        known = json.loads(said.stdout)
        folders.add(Path(known["workspace_root"]))
        for package in known["packages"]:
            folders.add(Path(package["manifest_path"]).parent)
            manifests += [Path(each["path"]) / "Cargo.toml" for each in package["dependencies"] if each.get("path")]
    return Path(os.path.commonpath(folders))


def counts(folder: Path) -> bool:
    """Not a virtual environment, and not what cargo builds into: sources may have a folder named target too."""
    made = ("pyvenv.cfg", "CACHEDIR.TAG", ".rustc_info.json")
    return folder.name not in left_out and not any((folder / name).exists() for name in made)


def files(folder: Path) -> set[Path]:
    """Those that count, relative to the folder."""
    found = set()
    for at, names, here in os.walk(folder):
        names[:] = [each for each in names if counts(Path(at) / each)]
        found |= {Path(at, each).relative_to(folder) for each in here if not each.endswith((".so", ".pyd", ".pyc"))}
    return found


with open(crate / "pyproject.toml", "rb") as file:
    project = tomllib.load(file)
project.setdefault("tool", {}).setdefault("maturin", {})
above = root()
copy.mkdir(parents=True, exist_ok=True)
# What was copied last, by content: what the build and the tests change or leave in the copy is theirs, such as Cargo.lock.
there: dict[str, str] = json.loads(copied.read_text()) if copied.exists() else {}
wanted = {str(name): hashlib.sha256((above / name).read_bytes()).hexdigest() for name in files(above)}
gone = there.keys() - wanted.keys()
changed = {name for name, content in wanted.items() if there.get(name) != content or not (copy / name).is_file()}
if any(Path(name).suffix not in (".py", ".pyi", ".md") for name in gone | changed):
    built.unlink(missing_ok=True)  # before the copy: this may be interrupted
copied.write_text(json.dumps({**there, **dict.fromkeys(changed, "")}))
for name in gone:
    (copy / name).unlink(missing_ok=True)
for name in changed:
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(above / name, copy / name)  # with the time of now, which is what cargo goes by
    shutil.copymode(above / name, copy / name)
copied.write_text(json.dumps(wanted))

metadata = project.get("project", {})
install = list(metadata.get("dependencies", []))
usual = ("test", "tests", "testing", "dev")
groups, extras = project.get("dependency-groups", {}), metadata.get("optional-dependencies", {})


def members(group: str) -> list[str]:
    """The requirements of a dependency group, those that it includes too."""
    return [
        each
        for member in groups[group]
        for each in ([member] if isinstance(member, str) else members(member["include-group"]))
    ]


if name := next((each for each in usual if each in groups), None):
    install += members(name)
elif name := next((each for each in usual if each in extras), None):
    install += extras[name]
else:
    lists = [f"requirements{dash}{each}.txt" for each in usual for dash in "-_"]
    install += [f"-r{crate / each}" for each in lists if (crate / each).is_file()][:1]


def locked() -> list[str]:
    """The versions of the nearest uv.lock that locks this project, those that are the same on every machine."""
    for folder in (crate, *crate.parents):
        lock = folder / "uv.lock"
        packages = tomllib.loads(lock.read_text()).get("package", []) if lock.is_file() else []
        local = [each["source"].get(kind) for each in packages for kind in ("editable", "virtual", "directory")]
        if any((folder / path).resolve() == crate for path in local if path):
            names = [each["name"] for each in packages]
            return [
                f"{each['name']}=={each['version']}"
                for each in packages
                if "registry" in each["source"] and names.count(each["name"]) == 1
            ]
    return []


constraints = home / "constraints.txt"
constraints.write_text("".join(each + "\n" for each in locked()))
itself = re.compile(rf"{re.escape(metadata.get('name', ' '))}\s*([\[<>=!~;@]|$)", re.IGNORECASE)
install = [each for each in install if not itself.match(each)]
wishes = hashlib.sha256("\n".join(install).encode() + constraints.read_bytes())
for each in install:
    if each.startswith("-r"):
        wishes.update(Path(each[2:]).read_bytes())
print("wishes=" + wishes.hexdigest())
print("inside=" + shlex.quote(str(copy / crate.relative_to(above))))
print("install=(" + shlex.join(install) + ")")
PYTHON
}

inside='' wishes='' install=() # which the plan sets
planned=$(plan) || die "cannot read $crate"
eval "$planned"

venv="$home/venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1
[[ -x $venv/bin/python ]] || "$python" -m venv "$venv"

wishes="$wishes ${packages[*]}"
if [[ $wishes != "$(cat "$home/installed" 2>/dev/null)" ]]; then
    say 'installing what the tests need'
    rm -f "$home/installed"
    "$venv/bin/python" -m pip install --quiet "${packages[@]}"
    # After that, so that a project that asks for another pytest gets it.
    [[ ${#install[@]} == 0 ]] || "$venv/bin/python" -m pip install --quiet -c "$home/constraints.txt" "${install[@]}"
    printf '%s\n' "$wishes" >"$home/installed"
fi

# PyO3 reads the first. Nothing in PyO3 reads the second; it is set because projects look for it.
export PYO3_PYTHON="$venv/bin/python"
export VIRTUAL_ENV="$venv" PATH="$venv/bin:$PATH" CARGO_TARGET_DIR="$home/target"
unset CONDA_PREFIX PYTHONHOME PYTHONPATH
cd "$inside"
if [[ ! -e $home/built ]]; then
    say "building $crate"
    # As `maturin develop` does it, but for what else that installs: a dependency group named dev, by a new pip alone.
    rm -rf "$home/wheels"
    # Words, on purpose: several arguments.
    # shellcheck disable=SC2086
    maturin pep517 build-wheel --editable --compatibility off -i "$venv/bin/python" --out "$home/wheels" ${MATURIN_ARGS---profile release} >"$home/build.log" 2>&1 || {
        cat "$home/build.log" >&2
        die "maturin could not build $crate"
    }
    "$venv/bin/python" -m pip install --quiet --no-deps --force-reinstall "$home"/wheels/*.whl
    touch "$home/built"
else
    say 'unchanged: not built again'
fi
if [[ ${#plugin[@]} != 0 ]]; then
    export PYTHONPATH="$beside/pyo3test_plugin.zip"
fi
status=0
pytest ${plugin[@]+"${plugin[@]}"} --forked "$@" || status=$?
if [[ $status == 4 ]]; then
    say 'pytest did not understand an argument or a setting: is a plugin that addopts names among what the project says its tests need?'
fi
exit "$status"
