"""A small generator for training loops: MobileStyleGAN's trunk, colors read at every resolution.

The trunk is that of `mobile_stylegan`; the colors are summed over resolutions as StyleGAN2 does
(Karras et al. 2020, section 4.1), so that the image of every resolution is a picture in its own
right and synthesis may stop early. Beneath them lies a coarse picture that is linear in W+.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.images.precision import at_least_float32
from sdflow_jax.models.mobile_layers import MobileTrunk, Modulation
from sdflow_jax.models.style_space import StyleSpace
from sdflow_jax.models.stylegan2 import check_resolution, checked_channels

BASE_SIZE = 8
# First rows of the coarse, middle and fine styles (Karras et al. 2019, section 3.1).
_STYLE_GROUPS = (0, 4, 8)


class ColorReadout(nnx.Module):
    """Modulated 1x1 convolution to three channels."""

    def __init__(self, features: int, style_dim: int, *, rngs: nnx.Rngs):
        self.modulation = Modulation(style_dim, features, rngs=rngs)
        self.linear = nnx.Linear(features, 3, kernel_init=nnx.initializers.normal(0.01), rngs=rngs)

    def __call__(
        self, x: Float[Array, "b h w i"], w: Float[Array, "b d"]
    ) -> Float[Array, "b h w 3"]:
        x = self.modulation(x, w)
        # Colors are not rounded to the feature maps' type.
        return self.linear(x.astype(at_least_float32(x.dtype)))


class CompactGenerator(StyleSpace):
    """Images from styles at 8, 16, ... `resolution` pixels, for codes of a larger generator.

    The trunk of MobileStyleGAN (Belousov 2021) with StyleGAN2's sum of colors over resolutions
    (Karras et al. 2020). Codes are [b, n, d] with n = `num_styles`, images [b, r, r, 3], about in
    [-1, 1].

    Args:
      resolution: side of the largest image in pixels, a power of two, at least 16.
      style_dim: length of z and of every style.
      num_styles: rows of a W+ code, those of the generator that this one imitates.
      color_style: the row that styles the colors.
      channels: feature maps by resolution, for 4, 8, ... `resolution`, each a multiple of 4; string
        keys (from JSON) are accepted.
      num_mapping_layers: layers of the mapping network.
      rngs: stream `params`.

    Raises:
      ValueError: if the resolution is no power of two, `channels` lists other resolutions, or there are no fine
        styles.
    """

    def __init__(
        self,
        resolution: int,
        style_dim: int = 512,
        *,
        num_styles: int = 18,
        color_style: int = 15,
        channels: Mapping[int, int] | Mapping[str, int],
        num_mapping_layers: int = 8,
        rngs: nnx.Rngs,
    ):
        check_resolution(resolution, 16)
        if num_styles <= _STYLE_GROUPS[-1]:
            raise ValueError(
                f"num_styles must be more than {_STYLE_GROUPS[-1]}, the coarse and middle ones, got {num_styles}"
            )
        widths = checked_channels(resolution, channels)
        super().__init__(style_dim, num_styles, num_mapping_layers=num_mapping_layers, rngs=rngs)
        self.resolution = resolution
        self.resolutions = self.picture_sizes = tuple(sorted(widths)[1:])
        self.color_style = color_style
        self.trunk = MobileTrunk(widths, style_dim, rngs=rngs)
        self.readouts = nnx.List(
            ColorReadout(widths[r], style_dim, rngs=rngs) for r in sorted(widths)[1:]
        )
        self.base = nnx.Linear(
            len(_STYLE_GROUPS) * style_dim,
            BASE_SIZE**2 * 3,
            kernel_init=nnx.initializers.zeros,
            rngs=rngs,
        )

    def pyramid(
        self, w_plus: Float[Array, "b n d"], *, resolution: int | None = None, dtype: Any = None
    ) -> list[Float[Array, "b r r 3"]]:
        """The pictures of W+ codes at 8, 16, ... `resolution` pixels.

        Args:
          w_plus: one style per layer, [b, n, d] with n = `num_styles`.
          resolution: of the last picture; None for the network's own.
          dtype: of the feature maps, e.g. `jnp.bfloat16`; None computes in float32.

        Returns:
          Images, about in [-1, 1] and not clipped; float32 unless `dtype` is wider.

        Raises:
          ValueError: if the codes have another number or length of styles, or for a resolution that
            the network does not have.
        """
        self.check_codes(w_plus)
        num_blocks = self.resolutions.index(self.checked_resolution(resolution)) + 1
        groups = [
            part.mean(axis=1) for part in jnp.split(w_plus, _STYLE_GROUPS[1:], axis=1)
        ]  # [b, d] each
        image = self.base(jnp.concatenate(groups, axis=-1))
        image = image.reshape(len(w_plus), BASE_SIZE, BASE_SIZE, 3)
        maps = self.trunk(w_plus, num_blocks, dtype)[1:]
        pictures = []
        for x, readout in zip(maps, self.readouts[:num_blocks], strict=True):
            if pictures:
                size = 2 * pictures[-1].shape[1]
                # Not StyleGAN2's filter, which is zero outside and darkens the borders.
                shape = (len(w_plus), size, size, 3)
                image = jax.image.resize(pictures[-1], shape, "bilinear")
            pictures.append(image + readout(x, w_plus[:, self.color_style]))
        return pictures

    def synthesize(
        self, w_plus: Float[Array, "b n d"], *, resolution: int | None = None, dtype: Any = None
    ) -> Float[Array, "b r r 3"]:
        """Render W+ codes; arguments, range and errors are those of `pyramid`."""
        return self.pyramid(w_plus, resolution=resolution, dtype=dtype)[-1]

    __call__ = synthesize
