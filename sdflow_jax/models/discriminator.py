"""StyleGAN2 discriminator: residual blocks down to 4px, then the minibatch standard deviation.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN". Only building a
generator needs it.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.equalized import EqualizedConv, EqualizedLinear
from sdflow_jax.models.stylegan2 import checked_channels

_VARIANCE_EPSILON = 1e-8


class Discriminator(nnx.Module):
    """Scores images, higher for more real.

    Args:
      resolution: side of the images in pixels, a power of two, at least 4.
      channels: feature maps by resolution, as for `Generator`.
      group_size: images over which the minibatch standard deviation is taken.
      rngs: stream `params`.

    Raises:
      ValueError: if the resolution is no power of two, or `channels` lists other resolutions.
    """

    def __init__(
        self,
        resolution: int,
        *,
        channels: Mapping[int, int] | Mapping[str, int] | None = None,
        group_size: int = 4,
        rngs: nnx.Rngs,
    ):
        widths = checked_channels(resolution, channels)
        self.resolution = resolution
        self.group_size = group_size
        self.from_rgb = EqualizedConv(3, widths[resolution], 1, rngs=rngs)
        self.blocks = nnx.List(
            _ResidualBlock(widths[r], widths[r // 2], rngs=rngs)
            for r in sorted(widths, reverse=True)[:-1]
        )
        self.last_conv = EqualizedConv(widths[4] + 1, widths[4], 3, rngs=rngs)
        self.last_hidden = EqualizedLinear(16 * widths[4], widths[4], activate=True, rngs=rngs)
        self.score = EqualizedLinear(widths[4], 1, rngs=rngs)

    def __call__(self, images: Float[Array, "b r r 3"]) -> Float[Array, " b"]:
        """Unbounded scores (logits of "real") of images in [-1, 1].

        Raises:
          ValueError: if the images have another size.
        """
        if images.shape[1:] != (self.resolution, self.resolution, 3):
            raise ValueError(
                f"images must be [b, {self.resolution}, {self.resolution}, 3],"
                f" got shape {tuple(images.shape)}; were they resized?"
            )
        x = self.from_rgb(images)
        for block in self.blocks:
            x = block(x)
        x = jnp.concatenate([x, minibatch_deviation(x, self.group_size)], axis=-1)
        x = self.last_conv(x)
        return self.score(self.last_hidden(x.reshape(x.shape[0], -1)))[:, 0]


class _ResidualBlock(nnx.Module):
    def __init__(self, features_in: int, features_out: int, *, rngs: nnx.Rngs):
        self.conv = EqualizedConv(features_in, features_in, 3, rngs=rngs)
        self.shrink = EqualizedConv(features_in, features_out, 3, halve=True, rngs=rngs)
        self.skip = EqualizedConv(
            features_in, features_out, 1, halve=True, activate=False, rngs=rngs
        )

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h//2 w//2 o"]:
        return (self.shrink(self.conv(x)) + self.skip(x)) / math.sqrt(2)


def minibatch_deviation(x: Float[Array, "b h w c"], group_size: int) -> Float[Array, "b h w 1"]:
    """How much the images of a group differ, in the mean over all features, as a feature map.

    Karras et al. 2018, section 3. Image i is in a group with every (b / group_size)-th other.
    Groups shrink to a divisor of the batch where they must; alone, an image has deviation zero.
    """
    batch, height, width, _ = x.shape
    size = max(k for k in range(1, min(group_size, batch) + 1) if batch % k == 0)
    groups = x.reshape(size, batch // size, *x.shape[1:])
    deviation = jnp.sqrt(jnp.var(groups, axis=0) + _VARIANCE_EPSILON)
    per_group = jnp.mean(deviation, axis=(1, 2, 3))  # [b / size]
    return jnp.broadcast_to(
        jnp.tile(per_group, size)[:, None, None, None], (batch, height, width, 1)
    )


def r1_penalty(discriminator: Discriminator, images: Float[Array, "b r r 3"]) -> Float[Array, " b"]:
    """Squared norm of the score's gradient at each image, unreduced (Mescheder et al. 2018, R1)."""
    gradients = jax.grad(lambda x: jnp.sum(discriminator(x)))(images)
    return jnp.sum(jnp.square(gradients), axis=(1, 2, 3))
