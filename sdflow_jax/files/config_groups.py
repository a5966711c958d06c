"""Reading a config value by value, each checked where it is read; all mistakes are told at once."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any


class ConfigError(ValueError):
    """A config asks for something impossible; every line of the message names one mistake."""


class Group:
    """A group of a config, or the whole of it.

    Every reading method returns the value if it is as it must be. Otherwise it remembers a sentence
    that names the mistake and returns None: what is built of such values must not be used before
    `finish` has been called.

    Args:
      values: the group, of plain values.
      name: what the sentences call it.
      complaints: where the sentences are kept; groups of one config share them.
      paths: where the dotted names are kept of what was asked for; shared likewise.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        name: str = "config",
        complaints: list[str] | None = None,
        paths: set[str] | None = None,
    ):
        self.name = name
        self.complaints = [] if complaints is None else complaints
        self.paths = set() if paths is None else paths
        self._values = values
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        self.paths.add(f"{self.name}.{key}")  # that it is absent may matter as much
        return key in self._values

    def group(self, key: str) -> "Group":
        """The group `key` of this one; empty where there is none."""
        self._read.add(key)
        values = self._values.get(key, {})
        if not isinstance(values, Mapping):
            self.complain(key, "a group of settings")
            values = {}
        return Group(values, f"{self.name}.{key}", self.complaints, self.paths)

    def number(
        self,
        key: str,
        *,
        above: float = -math.inf,
        least: float = -math.inf,
        most: float = math.inf,
        below: float = math.inf,
        expected: str = "a finite number",
    ) -> float:
        """A finite number x with above < x, least <= x <= most and x < below; `expected` says so in
        words.
        """
        return self._value(
            key,
            lambda x: _is_number(x) and above < x < below and least <= x <= most,
            expected,
        )

    def whole(self, key: str, *, least: int, note: str = "") -> int:
        """A whole number of at least `least`; `note` says what the least one means."""
        return self._value(
            key,
            lambda x: isinstance(x, int) and not isinstance(x, bool) and x >= least,
            f"at least {least}{note}",
        )

    def wholes(self, key: str) -> tuple[int, ...]:
        """A tuple of whole numbers above 0."""
        found = self._value(
            key,
            lambda x: isinstance(x, list | tuple) and all(type(i) is int and i > 0 for i in x),
            "a tuple of whole numbers above 0",
        )
        return tuple(found or ())

    def choice(self, key: str, choices: Collection[Any]) -> Any:
        """One of the choices."""
        return self._value(key, lambda x: x in tuple(choices), _either(choices))

    def flag(self, key: str) -> bool:
        """True or false."""
        return self._value(key, lambda x: isinstance(x, bool), "True or False")

    def text(self, key: str) -> str:
        """A text; nothing counts as the empty one."""
        return self._value(key, lambda x: x is None or isinstance(x, str), "a text") or ""

    def values(self) -> dict[str, Any]:
        """All of the group, for a caller that checks it."""
        self._read |= self._values.keys()
        self.paths.add(self.name)
        return dict(self._values)

    def anything(self, key: str) -> Any:
        """The value as it is, for a caller that checks it."""
        return self._value(key, lambda x: True, "")

    def complain(self, key: str, expected: str) -> None:
        """Remember that a value is not as it must be."""
        value = self._values.get(key)
        self.complaints.append(f"{self.name}.{key} must be {expected}, got {value!r}")

    def complain_of_unread(self) -> None:
        """Remember every key that nobody has read: it is mistyped, or means nothing here."""
        for key in sorted(self._values.keys() - self._read):
            known = ", ".join(sorted(self._read))
            self.complaints.append(f"{self.name}.{key} is no setting; the settings are {known}")

    def finish(self) -> None:
        """End the reading.

        Raises:
          ConfigError: with one line for every mistake in this config.
        """
        if self.complaints:
            raise ConfigError("\n".join(self.complaints))

    def _value(self, key: str, holds: Callable[[Any], bool], expected: str) -> Any:
        self._read.add(key)
        self.paths.add(f"{self.name}.{key}")
        if key not in self._values:
            self.complaints.append(f"{self.name}.{key} is missing; it must be {expected}")
            return None
        if not holds(self._values[key]):
            self.complain(key, expected)
            return None
        return self._values[key]


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)


def _either(choices: Collection[Any]) -> str:
    if len(choices) < 3:
        return " or ".join(map(repr, choices))
    return f"one of {', '.join(map(str, choices))}"
