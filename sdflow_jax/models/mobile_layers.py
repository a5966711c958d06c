"""Layers of MobileStyleGAN: separable styled convolutions and upsampling by an inverse wavelet.

Belousov 2021, "MobileStyleGAN: A Lightweight Convolutional Neural Network for High-Fidelity Image
Synthesis" (arXiv 2104.04767). Demodulation is folded into the convolutions, as it is in the
published network: a style multiplies the input channels and its norm is not divided out.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.depthwise import depthwise_convolve
from sdflow_jax.models.modulated_conv import NoiseBuffer
from sdflow_jax.models.resample import convolve

_SLOPE = 0.2


def inverse_haar(x: Float[Array, "b h w 4*c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Double the resolution by the inverse Haar transform.

    Args:
      x: four groups of c channels: the mean, the difference of the rows, that of the columns, and
        that of both.
    """
    batch, height, width, channels = x.shape
    low, rows, columns, both = jnp.split(x * 0.5, 4, axis=-1)
    top, bottom = low + rows, low - rows
    left_right, crossed = columns + both, columns - both
    pairs = [  # [b, h, 1, w, 2 c]: left and right pixel of the upper, then of the lower row
        jnp.concatenate([y + z, y - z], axis=-1)[:, :, None]
        for y, z in ((top, left_right), (bottom, crossed))
    ]
    return jnp.concatenate(pairs, axis=2).reshape(batch, 2 * height, 2 * width, channels // 4)


class Modulation(nnx.Linear):
    """Affine map from a style w to a factor for every channel."""

    def __init__(self, style_dim: int, features: int, *, rngs: nnx.Rngs):
        super().__init__(
            style_dim,
            features,
            kernel_init=nnx.initializers.normal(1 / math.sqrt(style_dim)),
            bias_init=nnx.initializers.ones,
            rngs=rngs,
        )

    def __call__(self, x: Float[Array, "b h w c"], w: Float[Array, "b d"]) -> Array:
        """Scale the channels of `x`; the factors are computed in float32."""
        return x * super().__call__(w)[:, None, None, :].astype(x.dtype)


class StyledLayer(nnx.Module):
    """Modulation, convolution by `_mix`, noise, bias, leaky rectifier of slope 0.2 and no gain."""

    def __init__(
        self,
        features_in: int,
        features_out: int,
        resolution: int,
        style_dim: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.modulation = Modulation(style_dim, features_in, rngs=rngs)
        self.noise = NoiseBuffer(jnp.zeros((resolution, resolution)))
        self.bias = nnx.Param(jnp.zeros(features_out))

    def __call__(
        self, x: Float[Array, "b r r i"], w: Float[Array, "b d"]
    ) -> Float[Array, "b r r o"]:
        """Apply the layer in the dtype of `x`."""
        y = self._mix(self.modulation(x, w))
        # The published network has one noise image for each layer, its strength folded in.
        offset = self.noise[...][None, :, :, None] + self.bias[...][None, None, None, :]
        return jax.nn.leaky_relu(y + offset.astype(x.dtype), _SLOPE)

    def _mix(self, x: Float[Array, "b r r i"]) -> Float[Array, "b r r o"]:
        raise NotImplementedError


class StyledDense(StyledLayer):
    """A styled layer with an ordinary 3x3 convolution."""

    def __init__(
        self, features_in: int, features_out: int, resolution: int, style_dim: int, *, rngs
    ):
        super().__init__(features_in, features_out, resolution, style_dim, rngs=rngs)
        init = nnx.initializers.he_normal()
        self.kernel = nnx.Param(init(rngs.params(), (3, 3, features_in, features_out)))

    def _mix(self, x):
        return convolve(x, self.kernel[...].astype(x.dtype))


class StyledSeparable(StyledLayer):
    """A styled layer with a depthwise 3x3 convolution and a 1x1 convolution."""

    def __init__(
        self, features_in: int, features_out: int, resolution: int, style_dim: int, *, rngs
    ):
        super().__init__(features_in, features_out, resolution, style_dim, rngs=rngs)
        center = jnp.zeros((3, 3, features_in)).at[1, 1].set(1.0)
        noise = 0.1 * jax.random.normal(rngs.params(), (3, 3, features_in))
        self.depthwise = nnx.Param(center + noise)
        init = nnx.initializers.he_normal()
        self.pointwise = nnx.Param(init(rngs.params(), (features_in, features_out)))

    def _mix(self, x):
        return depthwise_convolve(x, self.depthwise[...]) @ self.pointwise[...].astype(x.dtype)


class MobileBlock(nnx.Module):
    """Doubles the resolution by `inverse_haar`, then two separable styled layers.

    Reads two rows of a W+ code: one for the upsampling and the first layer, one for the second.
    """

    def __init__(
        self, features_in: int, features_out: int, resolution: int, style_dim: int, *, rngs
    ):
        self.up = Modulation(style_dim, features_in, rngs=rngs)
        self.first = StyledSeparable(
            features_in // 4, features_out, resolution, style_dim, rngs=rngs
        )
        self.second = StyledSeparable(features_out, features_out, resolution, style_dim, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "b h w i"],
        w_first: Float[Array, "b d"],
        w_second: Float[Array, "b d"],
    ) -> Float[Array, "b 2*h 2*w o"]:
        x = self.first(inverse_haar(self.up(x, w_first)), w_first)
        return self.second(x, w_second)


class MobileTrunk(nnx.Module):
    """Feature maps of a W+ code, from 4 pixels up.

    Row 0 of the code styles the 4-pixel layer, rows 2j + 1 and 2j + 2 the block of 8 * 2**j pixels:
    the order of StyleGAN2.

    Args:
      channels: feature maps by resolution, for 4, 8, 16, ...
      style_dim: length of a style.
      rngs: stream `params`.
    """

    def __init__(self, channels: dict[int, int], style_dim: int, *, rngs: nnx.Rngs):
        sizes = sorted(channels)
        self.constant = nnx.Param(jax.random.normal(rngs.params(), (4, 4, channels[4])))
        self.start = StyledDense(channels[4], channels[4], 4, style_dim, rngs=rngs)
        self.blocks = nnx.List(
            MobileBlock(channels[r // 2], channels[r], r, style_dim, rngs=rngs) for r in sizes[1:]
        )

    def __call__(
        self, w_plus: Float[Array, "b n d"], num_blocks: int, dtype=None
    ) -> list[Float[Array, "b r r c"]]:
        """Feature maps at 4, 8, ... pixels, the last after `num_blocks` doublings."""
        x = jnp.broadcast_to(self.constant[...][None], (len(w_plus), *self.constant.shape))
        x = self.start(x.astype(dtype or jnp.float32), w_plus[:, 0])
        maps = [x]
        for j, block in enumerate(self.blocks[:num_blocks]):
            maps.append(block(maps[-1], w_plus[:, 2 * j + 1], w_plus[:, 2 * j + 2]))
        return maps
