"""The adversary of the pocket autoencoder: a small network that judges patches.

Isola et al., "Image-to-image translation with conditional adversarial networks" (2017), section 3.2.2: strided
convolutions down to a map of logits. StyleGAN2's discriminator, which also judges composition, needs far more images to
learn: after 400 steps of 16 it could not yet tell a blurred face from a sharp one, which this one does after 60.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.conv_norm import he_normal
from sdflow_jax.pocket.build.augmentation import blur


class PatchDiscriminator(nnx.Module):
    """Logits of "real" for overlapping patches.

    Args:
      widths: channels of the convolutions, each of which halves the resolution.
      sharpening: how often the difference to the blurred image is added to the image before anything else. The
        spectrum of faces falls steeply; raised so, fine detail counts from the first step.
      rngs: stream `params`.
    """

    def __init__(
        self,
        widths: Sequence[int] = (48, 96, 128, 128),
        sharpening: float = 8.0,
        *,
        rngs: nnx.Rngs,
    ):
        self.sharpening = sharpening
        inputs = (3, *widths[:-1])
        self.convs = nnx.List(
            nnx.Conv(i, o, (4, 4), strides=2, padding=1, kernel_init=he_normal, rngs=rngs)
            for i, o in zip(inputs, widths, strict=True)
        )
        self.score = nnx.Conv(widths[-1], 1, (3, 3), padding=1, rngs=rngs)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b p q"]:
        """Judge images in [-1, 1]; a patch for every 16 pixels each way with four convolutions."""
        x = images + self.sharpening * (images - blur(images))
        for layer in self.convs:
            x = jax.nn.leaky_relu(layer(x), 0.2)
        return self.score(x)[..., 0]


def adversary_loss(
    discriminator: PatchDiscriminator,
    real: Float[Array, "b h w 3"],
    fake: Float[Array, "c h w 3"],
) -> Float[Array, ""]:
    """Cross-entropy of the decisions on both (Goodfellow et al. 2014)."""
    return nnx.softplus(-discriminator(real)).mean() + nnx.softplus(discriminator(fake)).mean()


def smoothness_penalty(
    discriminator: PatchDiscriminator, images: Float[Array, "b h w 3"]
) -> Float[Array, ""]:
    """R1 (Mescheder et al. 2018) of the mean logit: its squared gradient at real images."""
    gradients = jax.grad(lambda x: discriminator(x).mean((1, 2)).sum())(images)
    return jnp.square(gradients).sum((1, 2, 3)).mean()
