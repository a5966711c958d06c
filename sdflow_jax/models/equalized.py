"""Layers with equalized learning rate: weights of unit variance, scaled when they are used.

Karras et al. 2018, section 4.1. With Adam every weight then moves at the same relative speed, and
the stored arrays are those of the published checkpoints.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def leaky_relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Leaky rectifier of slope 0.2, times sqrt(2) to keep the variance."""
    return jax.nn.leaky_relu(x, 0.2) * math.sqrt(2)


class EqualizedLinear(nnx.Module):
    """`(x W / sqrt(features_in) + b)` times the learning rate multiplier, then maybe rectified."""

    def __init__(
        self,
        features_in: int,
        features_out: int,
        *,
        bias: float = 0.0,
        learning_rate_multiplier: float = 1.0,
        activate: bool = False,
        rngs: nnx.Rngs,
    ):
        kernel = jax.random.normal(rngs.params(), (features_in, features_out))
        self.kernel = nnx.Param(kernel / learning_rate_multiplier)
        self.bias = nnx.Param(jnp.full(features_out, bias / learning_rate_multiplier))
        self.gain = learning_rate_multiplier / math.sqrt(features_in)
        self.bias_gain = learning_rate_multiplier
        self.activate = activate

    def __call__(self, x: Float[Array, "b i"]) -> Float[Array, "b o"]:
        y = x @ (self.kernel[...] * self.gain) + self.bias[...][None, :] * self.bias_gain
        return leaky_relu(y) if self.activate else y
