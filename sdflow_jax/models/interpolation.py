"""Bilinear interpolation whose corner pixels keep their place (PyTorch's `align_corners=True`).

`jax.image.resize` has only the other convention. The e4e encoder was trained with this one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def interpolation_matrix(size_in: int, size_out: int) -> np.ndarray:
    """Weights [size_out, size_in] of linear interpolation.

    The `size_out` points lie evenly from the first pixel to the last.
    """
    position = np.arange(size_out) * ((size_in - 1) / (size_out - 1) if size_out > 1 else 0.0)
    below = np.minimum(np.floor(position).astype(int), size_in - 1)
    above = np.minimum(below + 1, size_in - 1)
    fraction = position - below
    matrix = np.zeros((size_out, size_in))
    np.add.at(matrix, (np.arange(size_out), below), 1.0 - fraction)
    np.add.at(matrix, (np.arange(size_out), above), fraction)
    return matrix


def resize_aligned(
    images: Float[Array, "b h w c"], height: int, width: int
) -> Float[Array, "b p q c"]:
    """Resize to `height` x `width` bilinearly, corners on corners, without antialiasing."""
    rows = jnp.asarray(interpolation_matrix(images.shape[1], height), images.dtype)
    columns = jnp.asarray(interpolation_matrix(images.shape[2], width), images.dtype)
    # Full precision: on accelerators the default would round the weights to fewer bits.
    return jnp.einsum(
        "ph,qw,bhwc->bpqc", rows, columns, images, precision=jax.lax.Precision.HIGHEST
    )
