"""What plugins print at the end of the session, for those who read the run and not pytest's own output."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from .events import Events

LIMIT = 64 << 10
"""Characters that are reported, from the end."""


class Tee:
    """A file that also keeps what is written."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.kept: list[str] = []

    def write(self, text: str) -> int:
        """Write to the file, and keep."""
        self.kept.append(text)
        return int(self.file.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class Sections:
    """Reports the sections that plugins add after pytest's own."""

    def __init__(self, events: Events) -> None:
        self.events = events

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Generator[None, Any, None]:
        """Keep what is printed by all but wrappers: pytest prints its own sections before and after them, by one."""
        writer: Any = getattr(terminalreporter, "_tw", None)
        if not hasattr(writer, "_file"):
            yield
            return
        writer._file = tee = Tee(writer._file)
        yield
        writer._file = tee.file
        lines = [line for line in "".join(tee.kept).splitlines() if " generated xml file: " not in line]  # ours
        if text := "\n".join(lines).strip("\n"):
            self.events.send("sections", text=text[-LIMIT:])
