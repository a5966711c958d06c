"""Edits that could not be computed."""

import numpy as np
from jaxtyping import Float


def require_solved(latents: Float[np.ndarray, "b n d"]) -> Float[np.ndarray, "b n d"]:
    """Edited latents as they are.

    Raises:
      FloatingPointError: if some are not finite, which is how methods say that a solve failed.
    """
    if not np.isfinite(latents).all():
        raise FloatingPointError(
            "the flow's differential equation could not be solved for these targets;"
            " choose them closer to [0, 1], or give the solver more steps or looser tolerances"
        )
    return latents
