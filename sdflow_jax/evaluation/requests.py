"""The edits that the evaluation asks for: which attributes, towards which end, how strongly."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float


@dataclasses.dataclass(frozen=True)
class Request:
    """One curve: the attributes that are driven to their opposite, all of them at once.

    Attributes:
      name: the attribute, or a name for the combination.
      attributes: names of the attributes to edit.
    """

    name: str
    attributes: tuple[str, ...]


def requests_for(attributes: tuple[str, ...], *, pairs: bool = False) -> tuple[Request, ...]:
    """One request per attribute and, if there are several, one that edits all of them.

    Args:
      attributes: their names.
      pairs: whether every two of them are edited together, too.
    """
    sizes = {1, len(attributes)} | ({2} if pairs else set())
    return tuple(
        Request("+".join(names), names)
        for size in sorted(sizes & set(range(1, len(attributes) + 1)))
        for names in itertools.combinations(attributes, size)
    )


def without_pairs(requests: Sequence[str]) -> list[str]:
    """The names of the single edits and of the edit of most attributes: those that are drawn."""
    most = max((name.count("+") for name in requests), default=0)
    return [name for name in requests if name.count("+") in (0, most)]


def target_variables(
    semantic_variables: Float[np.ndarray, "b a"],
    is_on: Bool[np.ndarray, "b a"],
    strength: float,
    is_edited: Bool[np.ndarray, " a"],
) -> Float[np.ndarray, "b a"]:
    """Semantic variables that ask for the opposite of `is_on`, at a strength.

    Strength 0 leaves the variables as read, 1 sets them to the opposite end (0 or 1), between them
    they move in a straight line, and beyond 1 they go past the end by `strength - 1`. From 1 upward
    this is upstream's `transform` (a face with the attribute gets `-scale`, one without it `1 +
    scale`) with scale = strength - 1; below 1 upstream starts from the near end instead of the
    face's own reading, so that there a strength of zero already changes faces whose reading is
    graded.

    Args:
      semantic_variables: as read from the source faces, in [0, 1].
      is_on: whether the source face counts as having the attribute.
      strength: at least 0.
      is_edited: the attributes to edit; the others keep the variables read.
    """
    end = 1.0 - is_on.astype(semantic_variables.dtype)
    within = min(strength, 1.0)
    beyond = max(strength - 1.0, 0.0)
    target = semantic_variables + within * (end - semantic_variables) + beyond * (2.0 * end - 1.0)
    return np.where(is_edited[None, :], target, semantic_variables)
