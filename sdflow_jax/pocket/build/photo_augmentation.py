"""Changes that make photographs of renders, for the inversion encoder: framing, light, sharpness, noise."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sdflow_jax.images.resizing import average_pool

_FRAMING = 0.03  # largest shift in shares of the side, and of the scale's logarithm


def photograph(key: PRNGKeyArray, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Random framing, light, color, sharpness and noise, each image its own; stays in [-1, 1]."""
    keys = jax.random.split(key, 7)
    per_image = (len(images), 1, 1, 1)
    images = _reframe(keys[0], images)
    gain = jnp.exp(0.12 * jax.random.normal(keys[1], per_image))
    tint = 1.0 + 0.04 * jax.random.normal(keys[2], (len(images), 1, 1, 3))
    offset = 0.06 * jax.random.normal(keys[3], per_image)
    images = images * gain * tint + offset
    images = _lose_resolution(keys[4], images)
    strength = 0.05 * jax.random.uniform(keys[5], per_image) ** 2
    images = images + strength * jax.random.normal(keys[6], images.shape)
    return jnp.clip(images, -1.0, 1.0)


def _reframe(key, images):
    """Shift and scale by a few hundredths, with the borders repeated."""
    height, width = images.shape[1:3]
    draws = _FRAMING * jax.random.normal(key, (len(images), 3))

    def frame(image, draw):
        scale = jnp.exp(draw[0])
        places = (
            (jnp.arange(side, dtype=draw.dtype) - side / 2 + 0.5) * scale
            + side / 2
            - 0.5
            + shift * side
            for side, shift in ((height, draw[1]), (width, draw[2]))
        )
        rows, columns = places
        return _sample(_sample(image, rows, 0), columns, 1)

    return jax.vmap(frame)(images, draws)


def _sample(image, places, axis):
    """Linear interpolation along one axis."""
    places = jnp.clip(places, 0.0, image.shape[axis] - 1.0)
    below = jnp.floor(places)
    low = below.astype(jnp.int32)
    high = jnp.minimum(low + 1, image.shape[axis] - 1)
    share = (places - below).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    return jnp.take(image, low, axis) * (1 - share) + jnp.take(image, high, axis) * share


def _lose_resolution(key, images):
    """Keep a random share of the detail of a quarter and of a half of the resolution."""
    keys = jax.random.split(key)
    shape = images.shape
    for factor, one in zip((2, 4), keys, strict=True):
        coarse = jax.image.resize(average_pool(images, factor), shape, "bilinear")
        share = jax.random.uniform(one, (shape[0], 1, 1, 1), minval=-0.5, maxval=1.0)
        images = images + jnp.maximum(share, 0.0) * (coarse - images)
    return images
