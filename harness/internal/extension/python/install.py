"""The phase "dependencies": install what the tests need into the test environment."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
from pathlib import Path
from typing import Any

from common import INSTALL, SCRATCH, TOOLS, VENV, BuildError, run, toml


def install(config: dict[str, Any], crate: Path) -> None:
    """Install the test environment; uv keeps its wheels in the crate's volume."""
    default, chosen = config["default"], config["dependencies"]
    if default:
        path = SCRATCH / "default.txt"
        path.write_text(default)
        run([*INSTALL, "--require-hashes", "-r", str(path)], crate, "installing the default test environment")
    # An index's copy of the project must not be tested: only maturin builds it.
    own = SCRATCH / "own.txt"
    own.write_text(config["project"])
    chosen_install = [*INSTALL, "--excludes", str(own)] if config["project"] else INSTALL
    if config["local"]:  # for a folder, uv would reuse a cached wheel of that name
        chosen_install = [*chosen_install, "--refresh"]
    if chosen["lock"]:
        install_lock(chosen["lock"], chosen_install, crate, chosen["from"])
    together = list(chosen["requirements"])
    if chosen["sourced"]:
        together += ["-r", str(sourced_project(chosen["sourced"], crate))]
    names = [chosen["from"] or "what the project needs"] if together else []
    for index, file in enumerate(chosen["files"]):
        path, bounds = SCRATCH / f"requirements-{index}.txt", SCRATCH / f"constraints-{index}.txt"
        path.write_text(file["text"])
        bounds.write_text(file["constraints"])
        arguments = ["-r", str(path), "-c", str(bounds)]
        for folder in file["find_links"] or []:
            arguments += ["--find-links", os.path.normpath(crate / folder)]
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


def restore(installed: list[str], crate: Path) -> None:
    """Install packages of exact versions, and run none of their code.

    A build from source would, and so would an interpreter that compiles them: it runs what .pth files say.
    """
    path = SCRATCH / "installed.txt"
    path.write_text("\n".join(installed))
    run(
        [*INSTALL, "--no-cache", "--no-deps", "--no-build", "-r", str(path)],
        crate,
        "installing the packages of that run",
    )


def sourced_project(sourced: dict[str, Any], crate: Path) -> Path:
    """Write a project that has the requirements with a source: uv applies [tool.uv.sources] only to projects."""

    def placed(table: dict[str, Any], key: str) -> dict[str, Any]:
        local = key in table and "://" not in table[key]
        return {**table, key: os.path.normpath(crate / table[key])} if local else table

    sources = {name: [placed(table, "path") for table in tables] for name, tables in sourced["sources"].items()}
    indexes = [placed(index, "url") for index in sourced["indexes"]]
    project = {"name": "pyo3test-sourced", "version": "0", "dependencies": sourced["requirements"]}
    folder = SCRATCH / "sourced"
    folder.mkdir()
    path = folder / "pyproject.toml"
    path.write_text(f"project = {toml(project)}\ntool = {toml({'uv': {'sources': sources, 'index': indexes}})}\n")
    return path


def install_lock(lock: dict[str, Any], argv: list[str], crate: Path, name: str) -> None:
    """Install what a lock file locks, but never the project itself: that would build it."""
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


STARTS_BY_ITSELF = re.compile(r"\.pth$|^(site|user)customize\.py$")


def verify() -> None:
    """Check each installed file against its package's RECORD: a damaged cache or a package's build may have changed it.

    If several packages own a file, it must match one of them. What Python runs at startup must belong to a package.
    """
    for site in (VENV / "lib").glob("python*/site-packages"):
        recorded: dict[str, set[str]] = {}
        for record in site.glob("*.dist-info/RECORD"):
            for row in csv.reader(record.read_text().splitlines()):
                if len(row) > 1:
                    recorded.setdefault(os.path.normpath(row[0]), set()).add(row[1])
        for name, sums in recorded.items():
            if "" in sums:  # RECORD itself, and compiled files
                continue
            try:
                data = (site / name).read_bytes()
            except OSError as error:
                raise BuildError(
                    f"the test environment is damaged: {site / name}: {error.strerror}; run again"
                ) from None
            if any(matches(data, one) for one in sums):
                continue
            if name.endswith(".pyc"):  # some packages record theirs, and uv has compiled it again: Python can, too
                (site / name).unlink()
            else:
                raise BuildError(
                    f"the test environment is damaged: {site / name} is not what its package's RECORD says; run again"
                )
        for path in site.iterdir():
            if STARTS_BY_ITSELF.search(path.name) and path.name not in recorded:
                raise BuildError(f"the test environment is damaged: {path} runs at Python's start and is of no package")


def matches(data: bytes, recorded: str) -> bool:
    """Report whether data has a sum in RECORD's form, such as "sha256=" and unpadded urlsafe base64."""
    kind, _, text = recorded.partition("=")
    return base64.urlsafe_b64encode(hashlib.new(kind, data).digest()).rstrip(b"=").decode("ascii") == text
