"""Convolution, batch norm and PReLU as the PyTorch networks of this package use them.

Initial weights follow He et al., "Delving deep into rectifiers" (2015), so that every network
trains from scratch.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

# Compiled, so that it is traced once for each shape: a network has few shapes and many layers, and a
# file's is traced to see what arrays it needs.
he_normal = jax.jit(nnx.initializers.he_normal(), static_argnums=(1, 2))


def conv(
    features_in: int,
    features_out: int,
    size: int,
    *,
    stride: int = 1,
    use_bias: bool = False,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """Square convolution with `size // 2` zeros on each side.

    That is PyTorch's alignment; "SAME" is not, at stride 2.
    """
    return nnx.Conv(
        features_in,
        features_out,
        (size, size),
        strides=stride,
        padding=size // 2,
        use_bias=use_bias,
        kernel_init=he_normal,
        rngs=rngs,
    )


def batch_norm(features: int, *, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Batch norm with PyTorch's constants: its momentum 0.1 is 0.9 here."""
    return nnx.BatchNorm(features, momentum=0.9, epsilon=1e-5, rngs=rngs)


class PReLU(nnx.Module):
    """Rectifier with a learned slope per channel for negative inputs (He et al., 2015)."""

    def __init__(self, features: int):
        self.slope = nnx.Param(jnp.full((features,), 0.25))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return jnp.where(x >= 0, x, self.slope[...][None, None, None, :] * x)
