"""Faces of latents, whatever the generator and however many rows the latents have."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.images.resizing import crop_and_resize


def render(
    generator: nnx.Module,
    w_plus: Float[Array, "b n d"],
    *,
    resolution: int | None = None,
    dtype: Any = None,
) -> Float[Array, "b r r 3"]:
    """What a generator gives for latents, clipped to [-1, 1], with its fixed noise.

    Args:
      generator: has `synthesize` and `num_styles`.
      w_plus: latents, as many rows as the generator has styles; a single row is used for all.
      resolution: one of the generator's `resolutions`, at which it stops; None for the whole face.
      dtype: of the generator's feature maps; None leaves it to the generator.

    Raises:
      ValueError: if the latents do not fit the generator, or it has no such resolution.
    """
    batch, rows, dim = w_plus.shape
    if rows == 1:
        w_plus = jnp.broadcast_to(w_plus, (batch, generator.num_styles, dim))
    asked = {"resolution": resolution, "dtype": dtype}
    options = {name: value for name, value in asked.items() if value is not None}
    faces = generator.synthesize(w_plus, **options)
    return jnp.clip(faces, -1.0, 1.0)


def faces_of(
    generator: nnx.Module, w_plus: Float[Array, "b n d"], size: int | None = None
) -> Float[Array, "b r r 3"]:
    """Faces in [-1, 1], with the generator's fixed noise.

    Args:
      generator: has `synthesize` and `num_styles`; with a size, also `picture_sizes`.
      w_plus: latents, as for `render`.
      size: side of the faces in pixels, synthesized at no higher resolution than is needed for pictures
        as good as reduced whole ones; None for the whole faces.
    """
    if size is None:
        return render(generator, w_plus)
    faces = render(generator, w_plus, resolution=picture_size(generator, size))
    return crop_and_resize(faces, size)


def picture_size(generator: nnx.Module, size: int) -> int | None:
    """Where a generator may stop if only `size` pixels are wanted: the smallest of its `picture_sizes`
    that has as many, below its full resolution; None if it may not stop.
    """
    smaller = (r for r in generator.picture_sizes if size <= r < generator.resolution)
    return min(smaller, default=None)
