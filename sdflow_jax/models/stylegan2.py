"""StyleGAN2 generator: mapping network and skip-connected synthesis network.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", configuration F, in the
arrangement of the rosinality checkpoints that e4e and SDFlow use. Parameters are stored unscaled
(equalized learning rate), so that converted checkpoints are exact and a generator can be trained
from scratch.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.equalized import EqualizedLinear
from sdflow_jax.models.modulated_conv import StyledConv, ToRGB
from sdflow_jax.models.resample import upsample

_NORMALIZATION_EPSILON = 1e-8


class StyleAverage(nnx.Variable):
    """The mean of w over random z, toward which truncation moves; a statistic, not a parameter."""


def stylegan2_channels(resolution: int, *, multiplier: int = 2) -> dict[int, int]:
    """Channels by resolution of the published networks: 512, then halving at every doubling."""
    return {r: min(512, 16384 * multiplier // r) for r in _resolutions(resolution)}


class Generator(nnx.Module):
    """Images from styles: z -> w by `map`, W+ by `broadcast` or `mix`, images by `synthesize`.

    Args:
      resolution: side of the square images in pixels, a power of two, at least 4.
      style_dim: length of z and of every style.
      channels: feature maps by resolution, for 4, 8, ... `resolution`; string keys (from JSON) are
        accepted. None takes `stylegan2_channels(resolution)`, the published FFHQ configuration.
      num_mapping_layers: layers of the mapping network.
      mapping_lr_multiplier: learning rate of the mapping network relative to the synthesis network.
      rngs: stream `params`.

    Raises:
      ValueError: if the resolution is no power of two, or `channels` lists other resolutions.
    """

    def __init__(
        self,
        resolution: int,
        style_dim: int = 512,
        *,
        channels: Mapping[int, int] | Mapping[str, int] | None = None,
        num_mapping_layers: int = 8,
        mapping_lr_multiplier: float = 0.01,
        rngs: nnx.Rngs,
    ):
        widths = _checked_channels(resolution, channels)
        self.resolution = resolution
        self.style_dim = style_dim
        self.mapping = nnx.List(
            EqualizedLinear(
                style_dim,
                style_dim,
                learning_rate_multiplier=mapping_lr_multiplier,
                activate=True,
                rngs=rngs,
            )
            for _ in range(num_mapping_layers)
        )
        self.w_average = StyleAverage(jnp.zeros(style_dim))
        self.constant = nnx.Param(jax.random.normal(rngs.params(), (4, 4, widths[4])))
        self.convs = nnx.List([StyledConv(widths[4], widths[4], 4, style_dim, rngs=rngs)])
        self.to_rgbs = nnx.List([ToRGB(widths[4], style_dim, rngs=rngs)])
        for r in _resolutions(resolution)[1:]:
            self.convs.append(
                StyledConv(widths[r // 2], widths[r], r, style_dim, double=True, rngs=rngs)
            )
            self.convs.append(StyledConv(widths[r], widths[r], r, style_dim, rngs=rngs))
            self.to_rgbs.append(ToRGB(widths[r], style_dim, rngs=rngs))

    @property
    def num_styles(self) -> int:
        """Styles in a W+ code: two per resolution, 2 log2(resolution) - 2."""
        return 2 * len(self.to_rgbs)

    def map(self, z: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """Map z ~ N(0, I) to styles w: normalize to unit mean square, then the layers."""
        x = z * jax.lax.rsqrt(
            jnp.mean(jnp.square(z), axis=-1, keepdims=True) + _NORMALIZATION_EPSILON
        )
        for layer in self.mapping:
            x = layer(x)
        return x

    def truncate(self, w: Float[Array, "*b d"], psi: float) -> Float[Array, "*b d"]:
        """Move styles toward the average: w_average + psi (w - w_average); 1 for no change."""
        average = self.w_average[...].reshape((1,) * (w.ndim - 1) + (-1,))
        return average + psi * (w - average)

    def broadcast(self, w: Float[Array, "b d"]) -> Float[Array, "b n d"]:
        """Use one style for all layers."""
        return jnp.repeat(w[:, None, :], self.num_styles, axis=1)

    def mix(
        self, w_coarse: Float[Array, "b d"], w_fine: Float[Array, "b d"], crossover: int
    ) -> Float[Array, "b n d"]:
        """Use `w_coarse` for the first `crossover` styles and `w_fine` for the others."""
        is_coarse = jnp.arange(self.num_styles)[None, :, None] < crossover
        return jnp.where(is_coarse, w_coarse[:, None, :], w_fine[:, None, :])

    def synthesize(
        self,
        w_plus: Float[Array, "b n d"],
        *,
        noise_key: jax.Array | None = None,
        use_noise: bool = True,
        dtype: Any = None,
    ) -> Float[Array, "b r r 3"]:
        """Render W+ codes.

        Args:
          w_plus: one style per layer, [b, n, d] with n = `num_styles`.
          noise_key: draws fresh noise for every image and layer; None uses the stored noise images.
          use_noise: False leaves the noise out.
          dtype: of the feature maps, e.g. `jnp.bfloat16`; None computes in float32. Styles,
            demodulation and the sum of colors are float32 at least.

        Returns:
          Images, about in [-1, 1] and not clipped; float32 unless `dtype` is wider.

        Raises:
          ValueError: if the codes have another number or length of styles. (The reference ignores
            surplus rows; cut them with `w_plus[:, :generator.num_styles]` where that is meant.)
        """
        if w_plus.ndim != 3 or w_plus.shape[1:] != (self.num_styles, self.style_dim):
            raise ValueError(
                f"w_plus must be [b, {self.num_styles}, {self.style_dim}] for this"
                f" {self.resolution}px generator, got shape {tuple(w_plus.shape)};"
                " were the codes made for another one?"
            )
        x = jnp.broadcast_to(self.constant[...][None], (w_plus.shape[0], *self.constant.shape))
        x = x.astype(dtype or jnp.float32)
        x = self._styled(0, x, w_plus, noise_key, use_noise)
        image = self.to_rgbs[0](x, w_plus[:, 1])
        for block in range(1, len(self.to_rgbs)):
            x = self._styled(2 * block - 1, x, w_plus, noise_key, use_noise)
            x = self._styled(2 * block, x, w_plus, noise_key, use_noise)
            # The colors of one resolution share a style with the first convolution of the next.
            image = upsample(image) + self.to_rgbs[block](x, w_plus[:, 2 * block + 1])
        return image

    __call__ = synthesize

    def _styled(
        self, index: int, x: Array, w_plus: Array, noise_key: jax.Array | None, use_noise: bool
    ) -> Array:
        layer = self.convs[index]
        noise = None
        if use_noise and noise_key is not None:
            shape = (x.shape[0], *layer.noise.shape)
            noise = jax.random.normal(jax.random.fold_in(noise_key, index), shape)
        elif use_noise:
            noise = layer.noise[...][None]
        return layer(x, w_plus[:, index], noise)


def _checked_channels(
    resolution: int, channels: Mapping[int, int] | Mapping[str, int] | None
) -> dict[int, int]:
    """Channels with integer keys, checked; None gives the published configuration.

    Raises:
      ValueError: if the resolution is no power of two of at least 4, or the keys are not 4, 8, ...
        resolution.
    """
    if resolution < 4 or math.log2(resolution) % 1:
        raise ValueError(f"resolution must be a power of two and at least 4, got {resolution}")
    if channels is None:
        return stylegan2_channels(resolution)
    widths = {int(key): int(value) for key, value in channels.items()}
    if sorted(widths) != _resolutions(resolution):
        raise ValueError(
            f"channels of a {resolution}px network must list the resolutions"
            f" {_resolutions(resolution)}, got {sorted(widths)}"
        )
    return widths


def _resolutions(resolution: int) -> list[int]:
    return [2**k for k in range(2, int(math.log2(resolution)) + 1)]
