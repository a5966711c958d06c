"""InsightFace's iresnet, the other common ArcFace network.

Deng et al., "ArcFace" (2019); insightface `recognition/arcface_torch`.
"""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.models.identity_encoder import FACE_WIDTHS, IdentityEmbedding, unit_norm
from sdflow_jax.models.irse import FaceBody, check_image_size

UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


class IResNet(nnx.Module):
    """Embeddings of face crops on the unit sphere, in which the inner product measures identity.

    Args:
      depth: 18, 34, 50 or 100.
      image_size: side of the input in pixels, a multiple of 16 (112 for the published networks).
      embedding_dim: length of the embedding.
      widths: channels of the stem and of the four stages.

    Raises:
      ValueError: for another depth, or an image size that is no multiple of 16.
    """

    def __init__(
        self,
        depth: int = 50,
        image_size: int = 112,
        embedding_dim: int = 512,
        widths: Sequence[int] = FACE_WIDTHS,
        *,
        rngs: nnx.Rngs,
    ):
        if depth not in UNITS:
            raise ValueError(f"an IResNet has depth {', '.join(map(str, UNITS))}; got {depth}")
        if image_size < 16 or image_size % 16:
            raise ValueError(
                f"image_size must be a multiple of 16 (four halvings), got {image_size}"
            )
        self.image_size = image_size
        self.embedding_dim = embedding_dim
        self.body = FaceBody(widths, UNITS[depth], insightface=True, rngs=rngs)
        self.embedding = IdentityEmbedding(image_size // 16, widths[-1], embedding_dim, rngs=rngs)

    def embed(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b e"]:
        """Embeddings before they are scaled to unit length."""
        check_image_size(images, self.image_size, type(self).__name__)
        return self.embedding(self.body(images)[-1])

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b e"]:
        """Unit-length embeddings of aligned face crops with pixels in [-1, 1]."""
        return unit_norm(self.embed(images))
