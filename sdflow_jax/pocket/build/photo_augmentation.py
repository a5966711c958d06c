"""Changes that make photographs of renders, for the inversion encoder: framing, light, sharpness, noise."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sdflow_jax.images.augmentation import reframe
from sdflow_jax.images.resizing import average_pool

_FRAMING = 0.03  # largest shift in shares of the side, and of the scale's logarithm


def photograph(key: PRNGKeyArray, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Random framing, light, color, sharpness and noise, each image its own; stays in [-1, 1]."""
    keys = jax.random.split(key, 7)
    per_image = (len(images), 1, 1, 1)
    images = reframe(images, _FRAMING * jax.random.normal(keys[0], (len(images), 3)))
    gain = jnp.exp(0.12 * jax.random.normal(keys[1], per_image))
    tint = 1.0 + 0.04 * jax.random.normal(keys[2], (len(images), 1, 1, 3))
    offset = 0.06 * jax.random.normal(keys[3], per_image)
    images = images * gain * tint + offset
    images = _lose_resolution(keys[4], images)
    strength = 0.05 * jax.random.uniform(keys[5], per_image) ** 2
    images = images + strength * jax.random.normal(keys[6], images.shape)
    return jnp.clip(images, -1.0, 1.0)


def _lose_resolution(key, images):
    """Keep a random share of the detail of a quarter and of a half of the resolution."""
    keys = jax.random.split(key)
    shape = images.shape
    for factor, one in zip((2, 4), keys, strict=True):
        coarse = jax.image.resize(average_pool(images, factor), shape, "bilinear")
        share = jax.random.uniform(one, (shape[0], 1, 1, 1), minval=-0.5, maxval=1.0)
        images = images + jnp.maximum(share, 0.0) * (coarse - images)
    return images
