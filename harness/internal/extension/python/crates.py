"""The phase "crates": compile the crates that a project depends on, without the project's own code.

The sources are a skeleton: manifests, as they are or written anew, and Rust files that do nothing. What is compiled goes
to a volume from which the first build of each crate that needs the same ones starts.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

from common import CRATES, SOURCES, TARGET, run

HASH = re.compile(r"-[0-9a-f]{16}\b")


def own_names() -> set[str]:
    """Return the names of the project's own packages and libraries, as they begin the names of files."""
    names = set()
    for manifest in SOURCES.rglob("Cargo.toml"):
        try:
            settings = tomllib.loads(manifest.read_text(encoding="utf-8"))
        except ValueError:  # a template, or a fixture of a test
            continue
        for table in ("package", "lib"):
            if name := settings.get(table, {}).get("name"):
                names |= {name, name.replace("-", "_")}
    return names


def remove_own(target: Path, names: set[str]) -> None:
    """Remove what was compiled of the skeleton itself, so that no build could take it for its own."""
    kinds = ("deps", "build", ".fingerprint", "incremental")
    for path in [path for kind in kinds for path in target.rglob(f"{kind}/*")]:
        stem = HASH.split(path.name)[0].split(".")[0]
        if names & {stem, stem.removeprefix("lib")} or path.parent.name == "incremental":
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for folder in [folder.parent for folder in target.rglob(".fingerprint")]:
        for path in folder.iterdir():
            if path.is_file():
                path.unlink()  # the results, under their final names


def start_from_compiled() -> None:
    """Begin a crate's first target folder with the crates that are compiled already."""
    ready, target = CRATES / "target", TARGET / "target"
    if not ready.is_dir() or target.exists():
        return
    part = TARGET / "part"
    shutil.rmtree(part, ignore_errors=True)
    # Cargo compares modification times.
    run(["cp", "-a", "--reflink=auto", str(ready), str(part)], Path("/"), "copying crates that are compiled already")
    part.rename(target)
