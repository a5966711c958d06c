"""Edits and faces that could not be computed."""

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


def require_pictures(faces: Float[np.ndarray, "b r r 3"]) -> Float[np.ndarray, "b r r 3"]:
    """Synthesized faces as they are.

    Raises:
      FloatingPointError: if some are NaN or infinite: their latents are too far from all faces.
    """
    if not np.isfinite(faces).all():
        raise FloatingPointError(
            "the generator gives no picture of latents that are so far from all faces; choose"
            " targets closer to [0, 1]"
        )
    return faces
