"""InterFaceGAN's edit as a network: a direction in W+ for each attribute."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class AttributeDirections(nnx.Module):
    """InterFaceGAN's editing: one direction in W+ for each attribute, the same for every face.

    Args:
      num_attributes: number of directions.
      num_styles: n, rows of the code; 1 moves the rows of any code alike.
      style_dim: d, length of a row.
      rngs: unused; the directions begin as zero.
    """

    def __init__(self, num_attributes: int, num_styles: int, style_dim: int, *, rngs: nnx.Rngs):
        del rngs  # zeros need no draw
        self.directions = nnx.Param(jnp.zeros((num_attributes, num_styles, style_dim)))

    def __call__(
        self, w_plus: Float[Array, "b n d"], change: Float[Array, "b a"]
    ) -> Float[Array, "b n d"]:
        """`w_plus + sum_k change_k direction_k`."""
        return w_plus + jnp.einsum("ba,and->bnd", change, self.directions[...])
