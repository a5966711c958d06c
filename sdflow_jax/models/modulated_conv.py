"""The two style-driven layers of the StyleGAN2 synthesis network.

Karras et al. 2020, section 2.2. A style multiplies the input channels of a convolution;
demodulation then divides every output channel by its expected deviation. Scaling a kernel's input
channels equals scaling the activations, and scaling its output channels equals scaling the result,
so one convolution with shared weights serves the whole batch; a kernel per image would make it a
grouped convolution, slow on every device and hopeless on CPU.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.images.precision import at_least_float32
from sdflow_jax.models.equalized import EqualizedLinear, leaky_relu
from sdflow_jax.models.resample import convolve, upsample_convolve

_DEMODULATION_EPSILON = 1e-8


class NoiseBuffer(nnx.Variable):
    """The noise image that a layer adds when no key is given: saved, never trained."""


class StyledConv(nnx.Module):
    """Modulated, demodulated 3x3 convolution, noise, bias, rectifier; may double the resolution."""

    def __init__(
        self,
        features_in: int,
        features_out: int,
        resolution: int,
        style_dim: int,
        *,
        double: bool = False,
        rngs: nnx.Rngs,
    ):
        self.modulation = EqualizedLinear(style_dim, features_in, bias=1.0, rngs=rngs)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (3, 3, features_in, features_out)))
        self.bias = nnx.Param(jnp.zeros(features_out))
        self.noise_strength = nnx.Param(jnp.zeros(()))
        self.noise = NoiseBuffer(jax.random.normal(rngs.params(), (resolution, resolution)))
        self.gain = 1 / math.sqrt(9 * features_in)
        self.double = double

    def __call__(
        self,
        x: Float[Array, "b h w i"],
        w: Float[Array, "b d"],
        noise: Float[Array, "#b r r"] | None,
    ) -> Float[Array, "b r r o"]:
        """Apply the layer in the dtype of `x`; the style and its demodulation are float32."""
        style = self.modulation(w) * self.gain  # [b, i]
        kernel = self.kernel[...]
        power = jnp.sum(jnp.square(kernel), axis=(0, 1))  # [i, o]
        demodulation = jax.lax.rsqrt(jnp.square(style) @ power + _DEMODULATION_EPSILON)  # [b, o]
        x = x * style[:, None, None, :].astype(x.dtype)
        y = upsample_convolve(x, kernel) if self.double else convolve(x, kernel)
        y = y * demodulation[:, None, None, :].astype(x.dtype)
        if noise is not None:
            y = y + (self.noise_strength[...] * noise)[..., None].astype(x.dtype)
        return leaky_relu(y + self.bias[...][None, None, None, :].astype(x.dtype))


class ToRGB(nnx.Module):
    """Modulated 1x1 convolution to three color channels, not demodulated."""

    def __init__(self, features_in: int, style_dim: int, *, rngs: nnx.Rngs):
        self.modulation = EqualizedLinear(style_dim, features_in, bias=1.0, rngs=rngs)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (features_in, 3)))
        self.bias = nnx.Param(jnp.zeros(3))
        self.gain = 1 / math.sqrt(features_in)

    def __call__(
        self, x: Float[Array, "b h w i"], w: Float[Array, "b d"]
    ) -> Float[Array, "b h w 3"]:
        """Read the colors of `x`; the result is float32, or wider if `x` is."""
        style = self.modulation(w) * self.gain  # [b, i]
        # Three outputs are so few that a kernel per image, a batched product, is the cheaper way.
        kernels = (style[:, :, None] * self.kernel[...][None, :, :]).astype(x.dtype)  # [b, i, 3]
        dtype = at_least_float32(x.dtype)
        colors = jnp.einsum("bhwi,bic->bhwc", x, kernels, preferred_element_type=dtype)
        return colors + self.bias[...][None, None, None, :]
