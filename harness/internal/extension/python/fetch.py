"""The phase "fetch": cargo and rustup download what the build needs, into volumes that the build cannot write to.

It has the network and the host's credentials, so it runs none of the project's code: cargo and rustup start outside
the sources, where no setting of the project can name a program to run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from common import CACHE, SCRATCH, SOURCES, VENDORED, BuildError, run, say, toml

KEPT_LOCKS = 20
"""How many states of a crate's manifests are remembered as fetched."""

CHANNEL = re.compile(r"(stable|beta|nightly|\d+\.\d+(\.\d+)?(-beta(\.\d+)?)?)(-\d{4}-\d{2}-\d{2})?(-[a-z0-9_-]+)?")

FROM_WHERE = ("registries", "registry", "source", "patch", "net")
"""Tables of cargo's configuration that say where crates come from. Others name programs, such as a wrapper of rustc."""


CRATES_FROM = VENDORED / "config.toml"
"""Cargo's configuration, which says that crates come from the image."""


class NotFetched(Exception):
    """The phase "build" lacks what "fetch" downloads."""


def own_cargo() -> None:
    """Make cargo keep what it fetches in the crate's volume; settings and credentials stay in the tmpfs."""
    for name in ("registry", "git"):
        link = Path(os.environ["CARGO_HOME"], name)
        link.parent.mkdir(parents=True, exist_ok=True)
        (CACHE / "cargo" / name).mkdir(parents=True, exist_ok=True)
        link.symlink_to(CACHE / "cargo" / name)
    if CRATES_FROM.exists():
        shutil.copyfile(CRATES_FROM, Path(os.environ["CARGO_HOME"], "config.toml"))


def use(config: dict[str, Any], crate: Path) -> None:
    """Use the Cargo.lock that the crates were fetched for. A project that builds with ``--locked`` keeps its own.

    So does a skeleton: which crates are compiled has to be what its name in the cache says.
    """
    fetched, lock = CACHE / "fetched" / config["fetch"], SOURCES / config["workspace"] / "Cargo.lock"
    if not fetched.exists():
        raise NotFetched
    own_cargo()
    maturin = tomllib.loads((crate / "pyproject.toml").read_text()).get("tool", {}).get("maturin", {})
    # With --locked, cargo refuses an outdated lock file.
    locked = config["phase"] == "crates" or "--locked" in config["maturin_args"] or maturin.get("locked")
    if not lock.exists() or not locked and lock.read_bytes() != fetched.read_bytes():
        shutil.copyfile(fetched, lock)


def toolchain_file(crate: Path) -> Path | None:
    """Return the rust-toolchain file that applies to a crate."""
    folders = [folder for folder in (crate, *crate.parents) if SOURCES in (folder, *folder.parents)]
    files = [folder / name for folder in folders for name in ("rust-toolchain", "rust-toolchain.toml")]
    return next((file for file in files if file.is_file()), None)


def toolchain_settings(file: Path) -> dict[str, Any]:
    """Return what a rust-toolchain file asks for; the old form is just the channel."""
    text = file.read_text()
    try:
        return dict(tomllib.loads(text)["toolchain"])
    except (ValueError, KeyError, TypeError):
        return {"channel": text.strip()}


def rustup_home(home: Path, *others: Path) -> None:
    """Make rustup work in a folder with links to the toolchains of the image and of other folders."""
    image = Path(os.environ.get("RUSTUP_HOME", "/usr/local/rustup"))
    (home / "toolchains").mkdir(parents=True, exist_ok=True)
    for toolchain in [found for folder in (image, *others) for found in folder.glob("toolchains/*")]:
        link = home / "toolchains" / toolchain.name
        if not link.is_symlink():
            link.symlink_to(toolchain)
    if (image / "settings.toml").exists():
        shutil.copyfile(image / "settings.toml", home / "settings.toml")
    os.environ["RUSTUP_HOME"] = str(home)


def fetch_toolchain(crate: Path) -> None:
    """Have rustup, if there is one, install the toolchain that a rust-toolchain file asks for."""
    file = toolchain_file(crate)
    if file is None or not shutil.which("rustup") or CRATES_FROM.exists():
        return
    rustup_home(CACHE / "rustup")
    wanted = toolchain_settings(file)
    channel = str(wanted.get("channel", ""))
    if not CHANNEL.fullmatch(channel):  # a path is not a download, and rustup would run what is there
        return
    argv = ["rustup", "toolchain", "install", channel, "--no-self-update"]
    argv += ["--profile", str(wanted.get("profile", "minimal"))]
    more = [f"--{kind}={name}" for kind in ("component", "target") for name in wanted.get(kind + "s", [])]
    if more or not any(Path(os.environ["RUSTUP_HOME"]).glob(f"toolchains/{channel}-*")):
        run([*argv, *more], Path("/"), f"installing Rust {channel}, which {file} asks for")
    os.environ["RUSTUP_TOOLCHAIN"] = channel


def toolchain(crate: Path) -> list[str]:
    """Have rustup honour a rust-toolchain file. Without rustup, return a note that says which Rust is used instead."""
    file = toolchain_file(crate)
    if file is None:
        return []
    if shutil.which("rustup"):
        rustup_home(SCRATCH / "rustup", CACHE / "rustup", VENDORED / "rustup")
        return []
    channel = str(toolchain_settings(file).get("channel", ""))
    version = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if channel == "stable" or version.startswith((f"rustc {channel}.", f"rustc {channel} ")):
        return []
    return [f"{file} asks for Rust {channel}; the base image has no rustup, so this was built with {version}"]


def without_programs(settings: Any) -> Any:
    """Return settings without those that name a program or forbid downloads."""
    if not isinstance(settings, dict):
        return settings
    kept = {key: without_programs(value) for key, value in settings.items()}
    return {key: value for key, value in kept.items() if "credential" not in key and key != "offline"}


def registry_settings(crate: Path) -> list[str]:
    """Return arguments that pass cargo only what the project's configuration says about registries."""
    arguments = []
    for folder in reversed([folder for folder in (crate, *crate.parents) if SOURCES in (folder, *folder.parents)]):
        for name in ("config.toml", "config"):
            file = folder / ".cargo" / name
            if file.is_file():
                settings = tomllib.loads(file.read_text())
                lines = [f"{key} = {toml(without_programs(settings[key]))}\n" for key in FROM_WHERE if key in settings]
                chosen = file.with_name("pyo3test-fetch.toml")  # beside it, because paths are relative to its place
                chosen.unlink(missing_ok=True)  # a link in the project could lead anywhere
                chosen.write_text("".join(lines))
                arguments += ["--config", str(chosen)]
                break
    return arguments


def fetch(config: dict[str, Any], crate: Path) -> dict[str, Any]:
    """Download what cargo builds from. Cargo and rustup run outside the sources, whose settings could name programs."""
    own_cargo()
    workspace = SOURCES / config["workspace"]
    lock, kept = workspace / "Cargo.lock", CACHE / "Cargo.lock"
    floating = not lock.exists()
    if floating and kept.exists():
        shutil.copyfile(kept, lock)
    fetch_toolchain(crate)
    # For all targets: maturin asks for the metadata of every locked package.
    argv = ["cargo", "fetch", "--manifest-path", str(workspace / "Cargo.toml")]
    run([*argv, *registry_settings(crate)], Path("/"), "fetching crates")
    if floating:
        shutil.copyfile(lock, kept)
    fetched = CACHE / "fetched"
    fetched.mkdir(exist_ok=True)
    part = fetched / "part"
    shutil.copyfile(lock, part)
    part.replace(fetched / config["fetch"])
    for old in sorted(fetched.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT_LOCKS]:
        old.unlink()
    return {}


def vendor(config: dict[str, Any], crate: Path) -> dict[str, Any]:
    """Copy the crates and the toolchain that were fetched into the image, with equal times for equal content."""
    use(config, crate)
    manifest = SOURCES / config["workspace"] / "Cargo.toml"
    argv = ["cargo", "vendor", "--frozen", "--versioned-dirs", "--respect-source-config"]
    argv += ["--manifest-path", str(manifest), str(VENDORED / "crates")]
    say(line="copying the crates into the image")
    copied = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
    if copied.returncode != 0:
        for line in copied.stderr.splitlines():
            say(line=line)
        raise BuildError(f"copy the crates: cargo ended with status {copied.returncode}")
    CRATES_FROM.write_text(copied.stdout)
    for folder in (CACHE / "rustup/toolchains").glob("*"):
        if not folder.is_symlink():  # a link leads to one of the image
            shutil.copytree(folder, VENDORED / "rustup/toolchains" / folder.name, symlinks=True)
    for path in VENDORED.rglob("*"):
        os.utime(path, (0, 0), follow_symlinks=False)
    return {}
