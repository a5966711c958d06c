"""What is asked of an edit: attributes by name and their wanted values, as arrays."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Array, Bool, Float

from sdflow_jax.callers import warn_caller

FARTHEST = (-1.0, 2.0)  # beyond, faces fall apart


def check_targets(
    targets: Mapping[str, float | Float[Array, " b"]], attributes: Sequence[str]
) -> dict[str, Float[np.ndarray, "..."]]:
    """The targets as float32.

    Args:
      targets: attribute name -> one number, or several.
      attributes: those that the editor knows.

    Raises:
      ValueError: naming the first that is for an unknown attribute, no number or not finite.
    """
    checked = {}
    for name, value in targets.items():
        if name not in attributes:
            raise ValueError(
                f"unknown attribute {name!r}; this editor knows {', '.join(attributes)}"
            )
        try:
            with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
                checked[name] = np.asarray(value, np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the target of {name} must be a number, got {value!r}") from error
        if not np.isfinite(checked[name]).all():
            raise ValueError(f"the target of {name} must be finite, got {value}")
    return checked


def wanted_variables(
    targets: Mapping[str, float | Float[Array, " b"]], attributes: Sequence[str], num_faces: int
) -> tuple[Float[np.ndarray, "b a"], Bool[np.ndarray, "b a"]]:
    """The wanted values, and which semantic variables they are for.

    Args:
      targets: attribute name -> one number, or one for each face; nominally in [0, 1].
      attributes: names of the columns.
      num_faces: b.

    Raises:
      ValueError: as `check_targets`, and for a target of another number of faces.

    Warns:
      UserWarning: about a target beyond `FARTHEST`.
    """
    wanted = np.zeros((num_faces, len(attributes)), np.float32)
    is_edited = np.zeros(wanted.shape, bool)
    for name, numbers in check_targets(targets, attributes).items():
        if numbers.shape not in ((), (num_faces,)):
            raise ValueError(
                f"the target of {name} must be one number, or one for each of {num_faces}"
                f" faces, got shape {numbers.shape}"
            )
        if (numbers < FARTHEST[0]).any() or (numbers > FARTHEST[1]).any():
            far = numbers.flat[np.argmax(np.abs(numbers - 0.5))]
            warn_caller(
                f"the target of {name} is {far:g}; 0 and 1 are the ends of the usual range, and far"
                " beyond them faces fall apart"
            )
        wanted[:, attributes.index(name)] = numbers
        is_edited[:, attributes.index(name)] = True
    return wanted, is_edited
