"""Faces of latents, whatever the generator."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def faces_of(generator: nnx.Module, w_plus: Float[Array, "b n d"]) -> Float[Array, "b r r 3"]:
    """Faces in [-1, 1], with the generator's fixed noise.

    Args:
      generator: has `synthesize` and `num_styles`.
      w_plus: latents; styles beyond the generator's own number are left out.
    """
    return jnp.clip(generator.synthesize(w_plus[:, : generator.num_styles]), -1.0, 1.0)
