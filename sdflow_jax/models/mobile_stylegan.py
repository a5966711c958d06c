"""MobileStyleGAN, the distilled StyleGAN2: images of 1024 pixels at a tenth of the work.

Belousov 2021 (arXiv 2104.04767). Its mapping network is StyleGAN2-FFHQ's own, so its W is that of
the published e4e, InterFaceGAN and StyleFlow results. It was distilled on samples of W: codes far
from them, such as inverted photographs made for the original generator, melt.
"""

from collections.abc import Mapping
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.images.precision import at_least_float32
from sdflow_jax.images.resizing import average_pool
from sdflow_jax.models.mobile_layers import MobileTrunk, Modulation, inverse_haar
from sdflow_jax.models.style_space import StyleSpace
from sdflow_jax.models.stylegan2 import check_resolution, checked_channels


class MobileStyleGAN(StyleSpace):
    """Images from styles: z -> w by `map`, W+ by `broadcast` or `mix`, images by `synthesize`.

    The distilled StyleGAN2 of Belousov 2021 (arXiv 2104.04767). Images are [b, r, r, 3], about in
    [-1, 1]. A W+ code has the rows of a StyleGAN2 of this resolution; the last two have no effect, since
    colors are read only once, after the last block and by the row before them.

    Args:
      resolution: side of the square images in pixels, a power of two, at least 16.
      style_dim: length of z and of every style.
      channels: feature maps by resolution, for 4, 8, ... `resolution` / 2, each a multiple of 4;
        string keys (from JSON) are accepted.
      num_mapping_layers: layers of the mapping network.
      rngs: stream `params`.

    Raises:
      ValueError: if the resolution is no power of two, or `channels` lists other resolutions.
    """

    def __init__(
        self,
        resolution: int,
        style_dim: int = 512,
        *,
        channels: Mapping[int, int] | Mapping[str, int],
        num_mapping_layers: int = 8,
        rngs: nnx.Rngs,
    ):
        check_resolution(resolution, 16)
        widths = checked_channels(resolution // 2, channels)
        super().__init__(
            style_dim, 2 * len(widths) + 2, num_mapping_layers=num_mapping_layers, rngs=rngs
        )
        self.resolution = resolution
        self.resolutions = self.picture_sizes = (*sorted(widths), resolution)
        self.trunk = MobileTrunk(widths, style_dim, rngs=rngs)
        self.color_modulation = Modulation(style_dim, widths[resolution // 2], rngs=rngs)
        self.colors = nnx.Linear(widths[resolution // 2], 12, rngs=rngs)

    def synthesize(
        self,
        w_plus: Float[Array, "b n d"],
        *,
        resolution: int | None = None,
        dtype: Any = None,
    ) -> Float[Array, "b r r 3"]:
        """Render W+ codes.

        Args:
          w_plus: one style per layer, [b, n, d] with n = `num_styles`.
          resolution: side of the images, at most this network's; smaller ones are the means of
            square groups of its pixels. None for the network's own.
          dtype: of the feature maps, e.g. `jnp.bfloat16`; None computes in float32.

        Returns:
          Images, about in [-1, 1] and not clipped; float32 unless `dtype` is wider.

        Raises:
          ValueError: if the codes have another number or length of styles, or for a resolution that
            is no power of two or too large.
        """
        self.check_codes(w_plus)
        size = self.checked_resolution(resolution)
        x = self.trunk(w_plus, len(self.trunk.blocks), dtype)[-1]
        x = self.color_modulation(x, w_plus[:, 2 * len(self.trunk.blocks) + 1])
        bands = self.colors(x.astype(at_least_float32(x.dtype)))
        if size == self.resolution:
            return inverse_haar(bands)
        # The mean band is the image of half the size, twice as bright.
        return average_pool(bands[..., :3] * 0.5, self.resolution // 2 // size)

    __call__ = synthesize
