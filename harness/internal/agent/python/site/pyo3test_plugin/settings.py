"""What the agent tells the plugin before it starts."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

VARIABLE = "PYO3TEST_PLUGIN"


@dataclasses.dataclass
class Settings:
    """The plugin's configuration. `workers` 0 leaves the number to the project's own -n, `out` is what stays."""

    events: int
    control: int
    isolation: str
    workers: int
    out: str
    stacks: str
    stacks_signal: int
    modules: list[dict[str, Any]]

    @classmethod
    def without_agent(cls) -> Settings:
        """For a pytest that was started by hand: nobody hears of events, and nothing is kept."""
        return cls(-1, -1, "forked", 0, "", "", 0, [])

    @classmethod
    def take(cls) -> Settings | None:
        """Read the configuration and remove it, so that tests see their own environment. None: no agent is there."""
        text = os.environ.pop(VARIABLE, None)
        return cls(**json.loads(text)) if text else None
