"""Random changes of face images that keep every label: mirror, shift, color, light, contrast, blur, noise, gaps."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from sdflow_jax.images.augmentation import mirror


def _shift(key, images, reach):
    padded = jnp.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
    # One shift for the batch: a slice is much cheaper than the gather that a shift for each image would be.
    row, column = jax.random.randint(key, (2,), 0, 2 * reach + 1)
    return jax.lax.dynamic_slice(padded, (0, row, column, 0), images.shape)


def blur(images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Binomial blur over 3x3 pixels."""
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    return 0.25 * rows[:, :, :-2] + 0.5 * rows[:, :, 1:-1] + 0.25 * rows[:, :, 2:]


# From RGB to brightness and two axes of color, orthonormal; hue is the angle in the plane of the latter.
_COLOR_AXES = jnp.array(
    [[3**-0.5] * 3, [2**-0.5, -(2**-0.5), 0.0], [6**-0.5, 6**-0.5, -2 * 6**-0.5]], jnp.float32
)


def _recolor(key, images):
    """Turn the hue by up to 60 degrees and scale the saturation between none and 1.4 times.

    Without it a classifier takes the tint that goes with an attribute for the attribute.
    """
    keys = jax.random.split(key)
    angle = jax.random.uniform(keys[0], (len(images),), minval=-jnp.pi / 3, maxval=jnp.pi / 3)
    saturation = jax.random.uniform(keys[1], (len(images),), minval=-0.4, maxval=1.4)
    cosine = jnp.maximum(saturation, 0.0) * jnp.cos(angle)
    sine = jnp.maximum(saturation, 0.0) * jnp.sin(angle)
    one, zero = jnp.ones_like(angle), jnp.zeros_like(angle)
    turn = jnp.stack([one, zero, zero, zero, cosine, -sine, zero, sine, cosine], axis=1)
    matrices = jnp.einsum("ji,bjk,kl->bil", _COLOR_AXES, turn.reshape(-1, 3, 3), _COLOR_AXES)
    return jnp.einsum("bhwc,bdc->bhwd", images, matrices)


def _cut_out(key, images, low, high):
    """Gray out a square of random place and size in each image."""
    height, width = images.shape[1:3]
    keys = jax.random.split(key, 3)
    side = jax.random.uniform(keys[0], (len(images), 1), minval=low, maxval=high)
    top = jax.random.uniform(
        keys[1], (len(images), 1), minval=-0.5 * side, maxval=height - 0.5 * side
    )
    left = jax.random.uniform(
        keys[2], (len(images), 1), minval=-0.5 * side, maxval=width - 0.5 * side
    )
    rows, columns = jnp.arange(height)[None], jnp.arange(width)[None]
    in_rows = (rows >= top) & (rows < top + side)
    in_columns = (columns >= left) & (columns < left + side)
    return jnp.where((in_rows[:, :, None] & in_columns[:, None, :])[..., None], 0.0, images)


def augment(key: PRNGKeyArray, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Strong augmentation of images in [-1, 1] for classifiers; the result stays in [-1, 1]."""
    keys = jax.random.split(key, 9)
    per_image = (len(images), 1, 1, 1)
    images = _shift(keys[1], mirror(keys[0], images), reach=3)
    sharpness = jax.random.uniform(keys[2], per_image, minval=-0.3, maxval=1.0)
    images = images + sharpness * (blur(images) - images)
    contrast = jax.random.uniform(keys[3], per_image, minval=0.75, maxval=1.3)
    brightness = jax.random.uniform(keys[4], (len(images), 1, 1, 3), minval=-0.08, maxval=0.08)
    brightness += jax.random.uniform(keys[5], per_image, minval=-0.2, maxval=0.2)
    noise = 0.03 * jax.random.normal(keys[6], images.shape)
    images = _recolor(keys[7], images) * contrast + brightness + noise
    return jnp.clip(_cut_out(keys[8], images, low=0.0, high=20.0), -1.0, 1.0)
