"""Random changes that leave a face the same face: its mirror image, and another framing."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def mirror(key: PRNGKeyArray, images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Mirror each image left to right with probability one half."""
    flip = jax.random.bernoulli(key, shape=(len(images), 1, 1, 1))
    return jnp.where(flip, images[:, :, ::-1], images)


def reframe(
    images: Float[Array, "b h w c"], framing: Float[Array, "b 3"]
) -> Float[Array, "b h w c"]:
    """Scale and shift each image its own way, with the borders repeated and pixels interpolated
    linearly.

    Args:
      images: any values; the result stays within their range.
      framing: logarithm of the scale (above 0 shows more, and the face smaller), then the shift of
        the frame down and to the right, in shares of the side.
    """
    height, width = images.shape[1:3]

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

    return jax.vmap(frame)(images, framing)


def _sample(image, places, axis):
    """Linear interpolation along one axis."""
    places = jnp.clip(places, 0.0, image.shape[axis] - 1.0)
    below = jnp.floor(places)
    low = below.astype(jnp.int32)
    high = jnp.minimum(low + 1, image.shape[axis] - 1)
    share = (places - below).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    return jnp.take(image, low, axis) * (1 - share) + jnp.take(image, high, axis) * share
