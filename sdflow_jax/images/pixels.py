"""Between stored 8-bit pixels and the [-1, 1] of the networks."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8


def to_signed(images: UInt8[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """8-bit pixels [..., h, w, c] as float32 in [-1, 1]: 0 is -1 and 255 is 1. Means of pixels are
    converted alike.
    """
    return images.astype(jnp.float32) * (2.0 / 255.0) - 1.0


def to_bytes(images: Float[Array, "*b h w c"]) -> UInt8[np.ndarray, "*b h w c"]:
    """Images [..., h, w, c] in [-1, 1] (clipped to it) as 8-bit pixels, rounded; undoes `to_signed`.
    What has 8 bits already stays as it is; what is NaN is black.

    Raises:
      ValueError: for other integers.
    """
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"expected floats in [-1, 1] or 8-bit pixels, got {images.dtype}")
    if np.isnan(images).any():
        images = np.where(np.isnan(images), -1.0, images)
    return _rounded(images, np)


def to_bytes_on_device(images: Float[Array, "*b h w c"]) -> UInt8[Array, "*b h w c"]:
    """The same for `jax.jit`: only a quarter of the memory leaves the device."""
    return _rounded(images, jnp)


def _rounded(images, xp):
    return xp.rint((xp.clip(images, -1.0, 1.0) + 1.0) * 127.5).astype(xp.uint8)
