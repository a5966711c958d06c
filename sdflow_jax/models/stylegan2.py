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

from sdflow_jax.models.modulated_conv import StyledConv, ToRGB
from sdflow_jax.models.resample import upsample
from sdflow_jax.models.style_space import StyleSpace


def stylegan2_channels(resolution: int, *, multiplier: int = 2) -> dict[int, int]:
    """Channels by resolution of the published networks: 512, then halving at every doubling."""
    return {r: min(512, 16384 * multiplier // r) for r in _resolutions(resolution)}


class Generator(StyleSpace):
    """Images from styles: z -> w by `map`, W+ by `broadcast` or `mix`, images by `synthesize`.

    StyleGAN2 (Karras et al. 2020, configuration F) as in the rosinality checkpoints. Codes are
    [b, n, d] with n = 2 log2(`resolution`) - 2, images [b, r, r, 3], about in [-1, 1].

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
        widths = checked_channels(resolution, channels)
        super().__init__(
            style_dim,
            2 * len(widths),  # two at each resolution, 2 log2(resolution) - 2
            num_mapping_layers=num_mapping_layers,
            mapping_lr_multiplier=mapping_lr_multiplier,
            rngs=rngs,
        )
        self.resolution = resolution
        self.resolutions = tuple(_resolutions(resolution))
        # The colors of all resolutions together make the picture: no earlier sum is one.
        self.picture_sizes = (resolution,)
        self.constant = nnx.Param(jax.random.normal(rngs.params(), (4, 4, widths[4])))
        self.convs = nnx.List([StyledConv(widths[4], widths[4], 4, style_dim, rngs=rngs)])
        self.to_rgbs = nnx.List([ToRGB(widths[4], style_dim, rngs=rngs)])
        for r in _resolutions(resolution)[1:]:
            self.convs.append(
                StyledConv(widths[r // 2], widths[r], r, style_dim, double=True, rngs=rngs)
            )
            self.convs.append(StyledConv(widths[r], widths[r], r, style_dim, rngs=rngs))
            self.to_rgbs.append(ToRGB(widths[r], style_dim, rngs=rngs))

    def synthesize(
        self,
        w_plus: Float[Array, "b n d"],
        *,
        resolution: int | None = None,
        noise_key: jax.Array | None = None,
        use_noise: bool = True,
        dtype: Any = None,
    ) -> Float[Array, "b r r 3"]:
        """Render W+ codes.

        Args:
          w_plus: one style per layer, [b, n, d] with n = `num_styles`.
          resolution: one of `resolutions`, at which to stop: the sum of the colors up to there,
            which is near the picture at that size but lacks what later layers correct. The styles
            of later layers have no effect then. None for the whole picture.
          noise_key: draws fresh noise for every image and layer; None uses the stored noise images.
          use_noise: False leaves the noise out.
          dtype: of the feature maps, e.g. `jnp.bfloat16`; None computes in float32. Styles,
            demodulation and the sum of colors are float32 at least.

        Returns:
          Images, about in [-1, 1] and not clipped; float32 unless `dtype` is wider.

        Raises:
          ValueError: if the codes have another number or length of styles, or for a resolution that
            the network does not have.
        """
        self.check_codes(w_plus)
        num_blocks = self.resolutions.index(self.checked_resolution(resolution)) + 1
        x = jnp.broadcast_to(self.constant[...][None], (w_plus.shape[0], *self.constant.shape))
        x = x.astype(dtype or jnp.float32)
        x = self._styled(0, x, w_plus, noise_key, use_noise)
        image = self.to_rgbs[0](x, w_plus[:, 1])
        for block in range(1, num_blocks):
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


def checked_channels(
    resolution: int, channels: Mapping[int, int] | Mapping[str, int] | None
) -> dict[int, int]:
    """Channels with integer keys, checked; None gives the published configuration.

    Raises:
      ValueError: if the resolution is no power of two of at least 4, or the keys are not 4, 8, ...
        resolution.
    """
    check_resolution(resolution, 4)
    if channels is None:
        return stylegan2_channels(resolution)
    widths = {int(key): int(value) for key, value in channels.items()}
    if sorted(widths) != _resolutions(resolution):
        raise ValueError(
            f"channels of a {resolution}px network must list the resolutions"
            f" {_resolutions(resolution)}, got {sorted(widths)}"
        )
    return widths


def check_resolution(resolution: int, least: int) -> None:
    """Raise ValueError unless a resolution is a power of two, and at least so many pixels."""
    if resolution < least or math.log2(resolution) % 1:
        raise ValueError(
            f"resolution must be a power of two and at least {least}, got {resolution}"
        )


def _resolutions(resolution: int) -> list[int]:
    return [2**k for k in range(2, int(math.log2(resolution)) + 1)]
