"""What is wrong with a config: one line for every mistake."""

from collections.abc import Mapping
from typing import Any


class Complaints:
    """Collects the mistakes of a config, so that all of them are told at once.

    Attributes:
      lines: a sentence for each mistake so far.
    """

    def __init__(self, config: Mapping[str, Any]):
        self.lines: list[str] = []
        self._config = config

    def require(self, holds: bool, name: str, expected: str) -> None:
        """Complain that the value `name` ("group.key") is not what is expected, unless it is."""
        if not holds:
            group, _, key = name.partition(".")
            value = self._config[group][key] if key else self._config[group]
            self.lines.append(f"config.{name} must be {expected}, got {value!r}")
