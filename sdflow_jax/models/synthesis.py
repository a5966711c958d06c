"""Faces of latents, whatever the generator."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def faces_of(
    generator: nnx.Module, w_plus: Float[Array, "b n d"], *, size: int | None = None
) -> Float[Array, "b r r 3"]:
    """Faces in [-1, 1], with the generator's fixed noise.

    Args:
      generator: has `synthesize`.
      w_plus: latents.
      size: side of the images in pixels; None for the generator's own.

    Raises:
      ValueError: if the latents have another number or length of styles than the generator's, or
        for a size that it does not have.
    """
    keywords = {} if size is None else {"resolution": size}
    return jnp.clip(generator.synthesize(w_plus, **keywords), -1.0, 1.0)
