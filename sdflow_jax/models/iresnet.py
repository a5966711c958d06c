"""InsightFace's iresnet, the other common ArcFace network.

Deng et al., "ArcFace" (2019); insightface `recognition/arcface_torch`.
"""

from collections.abc import Sequence

from flax import nnx

from sdflow_jax.models.identity_encoder import FACE_WIDTHS, IdentityNetwork

UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


class IResNet(IdentityNetwork):
    """The `IdentityNetwork` of InsightFace.

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
        super().__init__(
            image_size, embedding_dim, widths, UNITS[depth], insightface=True, rngs=rngs
        )
