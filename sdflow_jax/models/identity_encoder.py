"""Networks that embed identity; IR-SE50 trained with the ArcFace loss.

Deng et al., "ArcFace" (2019); upstream `Backbone` in `models/e4e/model_irse.py`.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.conv_norm import batch_norm, he_normal
from sdflow_jax.models.irse import FaceBody, check_image_size

IR50_UNITS = (3, 4, 14, 3)
FACE_WIDTHS = (64, 64, 128, 256, 512)


class IdentityEmbedding(nnx.Module):
    """Batch norm, one linear layer over all positions, batch norm.

    The linear layer sees positions first and channels last; the PyTorch networks flatten the other
    way round, which their converter undoes.
    """

    def __init__(self, map_size: int, features: int, embedding_dim: int, *, rngs: nnx.Rngs):
        self.input_norm = batch_norm(features, rngs=rngs)
        self.linear = nnx.Linear(
            map_size**2 * features, embedding_dim, kernel_init=he_normal, rngs=rngs
        )
        self.output_norm = batch_norm(embedding_dim, rngs=rngs)

    def __call__(self, x: Float[Array, "b p p c"]) -> Float[Array, "b e"]:
        x = self.input_norm(x)
        return self.output_norm(self.linear(x.reshape(x.shape[0], -1)))


def unit_norm(x: Float[Array, "b e"]) -> Float[Array, "b e"]:
    """Scale each row to length 1; a zero row stays zero instead of becoming NaN."""
    return x / jnp.maximum(jnp.sqrt(jnp.square(x).sum(axis=1, keepdims=True)), 1e-12)


class IdentityNetwork(nnx.Module):
    """Embeddings of face crops on the unit sphere, in which the inner product measures identity.

    Args:
      image_size: side of the input in pixels, a multiple of 16.
      embedding_dim: length of the embedding.
      widths: channels of the stem and of the four stages.
      units: residual units per stage.
      squeeze_excitation: whether the units gate their channels, see `ImprovedResidualUnit`.
      insightface: whether the units are InsightFace's, see there.

    Raises:
      ValueError: if the image size is no multiple of 16.
    """

    def __init__(
        self,
        image_size: int,
        embedding_dim: int,
        widths: Sequence[int],
        units: Sequence[int],
        *,
        squeeze_excitation: bool = False,
        insightface: bool = False,
        rngs: nnx.Rngs,
    ):
        if image_size < 16 or image_size % 16:
            raise ValueError(
                f"image_size must be a multiple of 16 (four halvings), got {image_size}"
            )
        self.image_size = image_size
        self.embedding_dim = embedding_dim
        self.body = FaceBody(
            widths,
            units,
            squeeze_excitation=squeeze_excitation,
            insightface=insightface,
            rngs=rngs,
        )
        self.embedding = IdentityEmbedding(image_size // 16, widths[-1], embedding_dim, rngs=rngs)

    def embed(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b e"]:
        """Embeddings before they are scaled to unit length."""
        check_image_size(images, self.image_size, type(self).__name__)
        return self.embedding(self.body(images)[-1])

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b e"]:
        """Unit-length embeddings of aligned face crops with pixels in [-1, 1]."""
        return unit_norm(self.embed(images))


class IdentityEncoder(IdentityNetwork):
    """The `IdentityNetwork` that upstream's identity loss uses, IR-SE50.

    Args:
      image_size: side of the input in pixels, a multiple of 16 (112 for the published network).
      embedding_dim: length of the embedding.
      widths: channels of the stem and of the four stages.
      units: residual units per stage.
      squeeze_excitation: whether the units gate their channels (IR-SE) or not (IR).

    Raises:
      ValueError: if the image size is no multiple of 16.
    """

    def __init__(
        self,
        image_size: int = 112,
        embedding_dim: int = 512,
        widths: Sequence[int] = FACE_WIDTHS,
        units: Sequence[int] = IR50_UNITS,
        squeeze_excitation: bool = True,
        *,
        rngs: nnx.Rngs,
    ):
        gates = squeeze_excitation
        super().__init__(
            image_size, embedding_dim, widths, units, squeeze_excitation=gates, rngs=rngs
        )
