"""The settings that the agent gives to the plugin before it starts."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

VARIABLE = "PYO3TEST_PLUGIN"


@dataclasses.dataclass
class Settings:
    """The plugin's configuration.

    If `workers` is 0, the project's own -n sets the number. `out` is the folder that is kept. `pressure`
    is what makes a rare failure of one test frequent.
    """

    events: int
    control: int
    isolation: str
    workers: int
    out: str
    stacks: str
    stacks_signal: int
    modules: list[dict[str, Any]]
    pressure: dict[str, Any] | None = None

    @classmethod
    def without_agent(cls) -> Settings:
        """Return settings for a pytest that was started by hand: events go nowhere, and nothing is kept."""
        return cls(-1, -1, "forked", 0, "", "", 0, [])

    @classmethod
    def take(cls) -> Settings | None:
        """Read the configuration and remove it, so that tests see their own environment. None: there is no agent."""
        text = os.environ.pop(VARIABLE, None)
        return cls(**json.loads(text)) if text else None
