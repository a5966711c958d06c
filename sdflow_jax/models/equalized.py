"""Layers with equalized learning rate: weights of unit variance, scaled when they are used.

Karras et al. 2018, section 4.1. With Adam every weight then moves at the same relative speed, and
the stored arrays are those of the published checkpoints.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.resample import convolve, downsample, downsample_convolve


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


class EqualizedConv(nnx.Module):
    """Convolution scaled by 1 / sqrt(fan-in); may halve the resolution, add a bias and rectify."""

    def __init__(
        self,
        features_in: int,
        features_out: int,
        size: int,
        *,
        halve: bool = False,
        activate: bool = True,
        rngs: nnx.Rngs,
    ):
        self.kernel = nnx.Param(
            jax.random.normal(rngs.params(), (size, size, features_in, features_out))
        )
        self.bias = nnx.Param(jnp.zeros(features_out)) if activate else None
        self.gain = 1 / math.sqrt(size * size * features_in)
        self.halve = halve

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b ph pw o"]:
        kernel = self.kernel[...] * self.gain
        if not self.halve:
            y = convolve(x, kernel)
        elif kernel.shape[0] == 1:
            y = convolve(downsample(x), kernel)
        else:
            y = downsample_convolve(x, kernel)
        return y if self.bias is None else leaky_relu(y + self.bias[...][None, None, None, :])
