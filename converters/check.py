"""Holds the keys and shapes of a state dictionary against what a network needs, before anything is
converted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from converters.errors import CheckpointError

MAX_LINES = 40


def compare_keys(found: Mapping[str, Any], expected: Mapping[str, Sequence[int]]) -> list[str]:
    """One line for each difference between the shapes of `found` and `expected`: a table without
    its head.

    A line starts with `-` for a key that is missing, `+` for one that is unexpected, `!` for a
    wrong shape.
    """
    shapes = {key: tuple(value.shape) for key, value in found.items()}
    wanted = {key: tuple(shape) for key, shape in expected.items()}
    rows = []
    for key in sorted(shapes.keys() | wanted.keys()):
        if key not in shapes:
            rows.append(("-", key, str(wanted[key]), "missing"))
        elif key not in wanted:
            rows.append(("+", key, "unexpected", str(shapes[key])))
        elif shapes[key] != wanted[key]:
            rows.append(("!", key, str(wanted[key]), str(shapes[key])))
    if not rows:
        return []
    rows.insert(0, (" ", "key", "expected", "found"))
    widths = [max(len(row[column]) for row in rows) for column in (1, 2)]
    return [
        f"{sign} {key:<{widths[0]}}  {want:<{widths[1]}}  {got}" for sign, key, want, got in rows
    ]


def check_keys(
    found: Mapping[str, Any], expected: Mapping[str, Sequence[int]], *, source: str
) -> None:
    """Require that `found` has exactly the keys and shapes of `expected`.

    Args:
      found: arrays by key.
      expected: shapes by key.
      source: what `found` is, for the message, as in `"g_ema of a StyleGAN2 checkpoint"`.

    Raises:
      CheckpointError: with a table of every missing, unexpected and mis-shaped key.
    """
    lines = compare_keys(found, expected)
    if not lines:
        return
    counts = {sign: sum(line.startswith(sign) for line in lines) for sign in "-+!"}
    summary = (
        f"{counts['-']} keys missing, {counts['+']} unexpected, {counts['!']} of another shape"
    )
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"  ... and {len(lines) - MAX_LINES} more"]
    raise CheckpointError("\n".join([f"{source} does not fit ({summary}):", *lines]))
