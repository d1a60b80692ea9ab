"""The Python half of a mixed package: some lines of its own, so that coverage has something to measure."""

from collections.abc import Iterable

from ._native import (
    RegistryError,
    call_from_threads,
    initialize,
    mode,
    names,
    owner,
    register,
    rest,
    set_mode,
)

__all__ = [
    "RegistryError",
    "call_from_threads",
    "initialize",
    "mode",
    "names",
    "owner",
    "register",
    "register_all",
    "report",
    "rest",
    "set_mode",
]


def register_all(wanted: Iterable[str]) -> list[str]:
    """Registers each name and gives back those that were there before."""
    known = []
    for name in wanted:
        try:
            register(name)
        except RegistryError:
            known.append(name)
    return known


def report() -> str:
    """One line on the state of this process."""
    registered = names()
    if not registered:
        return f"mode {mode()}, nothing registered"
    return f"mode {mode()}, {len(registered)} registered: {', '.join(registered)}"
