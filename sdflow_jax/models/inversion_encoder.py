"""The inversion encoder: the W+ code of an image.

e4e: Tov et al., "Designing an encoder for StyleGAN image manipulation" (2021); upstream
`models/e4e/psp_encoders.py`. A face recognition body with a feature pyramid; one small network per
style reads the coarse, middle or fine level. The first style is a base code for all, the other
styles are offsets from it. In pSp, which e4e grew out of, each is a style of its own (Richardson et
al., "Encoding in style", 2021).
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.conv_norm import conv
from sdflow_jax.models.equalized import EqualizedLinear
from sdflow_jax.models.identity_encoder import FACE_WIDTHS, IR50_UNITS
from sdflow_jax.models.interpolation import resize_aligned
from sdflow_jax.models.irse import FaceBody, check_image_size

NUM_COARSE_STYLES = 3
NUM_MIDDLE_STYLES = 4
HEAD_SLOPE = 0.01


def pyramid_level(style: int) -> int:
    """0, 1 or 2: the pyramid level, coarse to fine, that a style is read from."""
    return int(style >= NUM_COARSE_STYLES) + int(style >= NUM_COARSE_STYLES + NUM_MIDDLE_STYLES)


class LatentAverage(nnx.Variable):
    """The mean W+ code, a constant that the encoder's output is measured from."""


class StyleHead(nnx.Module):
    """Strided convolutions with leaky ReLU down to a single pixel, then a linear layer.

    Args:
      map_size: side of the feature map, a power of two.
      features_in: channels of the feature map.
      width: channels of the convolutions.
      style_dim: length of the style.
      equalized: whether the linear layer scales its weights at run time.
    """

    def __init__(
        self,
        map_size: int,
        features_in: int,
        width: int,
        style_dim: int,
        *,
        equalized: bool = False,
        rngs: nnx.Rngs,
    ):
        num_halvings = map_size.bit_length() - 1
        self.convs = nnx.List(
            [
                conv(width if i else features_in, width, 3, stride=2, use_bias=True, rngs=rngs)
                for i in range(num_halvings)
            ]
        )
        linear = EqualizedLinear if equalized else nnx.Linear
        self.linear = linear(width, style_dim, rngs=rngs)

    def __call__(self, x: Float[Array, "b p p c"]) -> Float[Array, "b d"]:
        for layer in self.convs:
            x = nnx.leaky_relu(layer(x), HEAD_SLOPE)
        return self.linear(x[:, 0, 0, :])


class InversionEncoder(nnx.Module):
    """W+ codes of images: the average code, plus a base code, plus an offset per later style (e4e);
    or the average code, plus a code per style (pSp).

    e4e is Tov et al. 2021 (upstream `models/e4e/psp_encoders.py`), pSp is Richardson et al. 2021.
    Called on images [b, R, R, 3] in [-1, 1], with R = `image_size`, it gives codes [b, n, d].

    Args:
      image_size: side of the input in pixels, a power of two, at least 32 (256 for the published
        network, 64 for the pocket one).
      num_styles: styles of the generator, 18 at 1024 pixels.
      style_dim: length of a style.
      widths: channels of the body's stem and four stages.
      units: residual units per stage of the body.
      head_width: channels of the style heads, `None` for `style_dim`.
      base_width: channels of the first style's head, which makes the base code; `None` for `head_width`.
      offset_scale: factor on the offsets; below 1 it holds the styles of a fresh encoder closer
        together (1 upstream).
      equalized_heads: whether the heads' linear layers store weights of unit variance and scale
        them at run time, as upstream.
      base_code: whether the first style's code is the base of all others (e4e) or of none (pSp).
      rngs: source of the initial weights.

    Raises:
      ValueError: if the image size is not a power of two of at least 32, or offsets are scaled where
        there are none.
    """

    def __init__(
        self,
        image_size: int = 256,
        num_styles: int = 18,
        style_dim: int = 512,
        widths: Sequence[int] = FACE_WIDTHS,
        units: Sequence[int] = IR50_UNITS,
        head_width: int | None = None,
        base_width: int | None = None,
        offset_scale: float = 1.0,
        equalized_heads: bool = False,
        base_code: bool = True,
        *,
        rngs: nnx.Rngs,
    ):
        if image_size < 32 or image_size & (image_size - 1):
            raise ValueError(f"image_size must be a power of two and at least 32, got {image_size}")
        if not base_code and offset_scale != 1.0:
            raise ValueError(f"without a base code there are no offsets to scale by {offset_scale}")
        head_width = style_dim if head_width is None else head_width
        base_width = head_width if base_width is None else base_width
        self.image_size = image_size
        self.num_styles = num_styles
        self.style_dim = style_dim
        self.offset_scale = offset_scale
        self.base_code = base_code
        self.body = FaceBody(widths, units, squeeze_excitation=True, rngs=rngs)
        self.middle_lateral = conv(widths[3], widths[4], 1, use_bias=True, rngs=rngs)
        self.fine_lateral = conv(widths[2], widths[4], 1, use_bias=True, rngs=rngs)
        self.heads = nnx.List(
            [
                StyleHead(
                    image_size // 16 * 2 ** pyramid_level(i),
                    widths[4],
                    head_width if i else base_width,
                    style_dim,
                    equalized=equalized_heads,
                    rngs=rngs,
                )
                for i in range(num_styles)
            ]
        )
        self.latent_average = LatentAverage(jnp.zeros((num_styles, style_dim)))

    def codes(
        self, images: Float[Array, "b h w 3"], *, stage: int | None = None
    ) -> Float[Array, "b n d"]:
        """W+ codes relative to the average code.

        Args:
          images: pixels in [-1, 1], `image_size` square.
          stage: how many styles after the first have an offset, for progressive training; `None`
            for all, and for an encoder without a base code.

        Raises:
          ValueError: if the images have another size, or there is no base code to be offset from.
        """
        if stage is not None and not self.base_code:
            raise ValueError("stage counts offsets from the base code, which this encoder has not")
        check_image_size(images, self.image_size, type(self).__name__)
        num_offsets = self.num_styles - 1 if stage is None else min(stage, self.num_styles - 1)
        _, fine, middle, coarse = self.body(images)
        pyramid = [coarse]
        if pyramid_level(num_offsets) >= 1:
            pyramid.append(_upsample_add(coarse, self.middle_lateral(middle)))
        if pyramid_level(num_offsets) >= 2:
            pyramid.append(_upsample_add(pyramid[1], self.fine_lateral(fine)))
        base = self.heads[0](coarse)
        offsets = [jnp.zeros_like(base)] * self.num_styles
        for i in range(1, num_offsets + 1):
            offsets[i] = self.heads[i](pyramid[pyramid_level(i)])
        if not self.base_code:
            return jnp.stack([base, *offsets[1:]], axis=1)
        return base[:, None, :] + self.offset_scale * jnp.stack(offsets, axis=1)

    def __call__(
        self, images: Float[Array, "b h w 3"], *, stage: int | None = None
    ) -> Float[Array, "b n d"]:
        """W+ codes of images, the average code included; arguments and errors are those of `codes`."""
        return self.codes(images, stage=stage) + self.latent_average[...][None]


def _upsample_add(
    small: Float[Array, "b p p c"], large: Float[Array, "b q q c"]
) -> Float[Array, "b q q c"]:
    return resize_aligned(small, large.shape[1], large.shape[2]) + large
