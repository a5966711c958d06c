"""Random changes of face images that keep every label: mirror, shift, light, contrast, blur, noise."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def mirror(key: PRNGKeyArray, images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Mirror each image left to right with probability one half."""
    flip = jax.random.bernoulli(key, shape=(len(images), 1, 1, 1))
    return jnp.where(flip, images[:, :, ::-1], images)


def _shift(key, images, reach):
    padded = jnp.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
    # One shift for the batch: a slice is much cheaper than the gather that a shift for each image would be.
    row, column = jax.random.randint(key, (2,), 0, 2 * reach + 1)
    return jax.lax.dynamic_slice(padded, (0, row, column, 0), images.shape)


def _blur(images):
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    return 0.25 * rows[:, :, :-2] + 0.5 * rows[:, :, 1:-1] + 0.25 * rows[:, :, 2:]


def augment(key: PRNGKeyArray, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Strong augmentation of images in [-1, 1] for classifiers; the result stays in [-1, 1]."""
    keys = jax.random.split(key, 7)
    per_image = (len(images), 1, 1, 1)
    images = _shift(keys[1], mirror(keys[0], images), reach=3)
    sharpness = jax.random.uniform(keys[2], per_image, minval=-0.3, maxval=1.0)
    images = images + sharpness * (_blur(images) - images)
    contrast = jax.random.uniform(keys[3], per_image, minval=0.75, maxval=1.3)
    brightness = jax.random.uniform(keys[4], (len(images), 1, 1, 3), minval=-0.08, maxval=0.08)
    brightness += jax.random.uniform(keys[5], per_image, minval=-0.2, maxval=0.2)
    noise = 0.03 * jax.random.normal(keys[6], images.shape)
    return jnp.clip(images * contrast + brightness + noise, -1.0, 1.0)
