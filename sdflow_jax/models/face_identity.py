"""Who a face is, read from pictures of any size: an identity encoder and the part of a face that it sees."""

import math
import os

from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.files import networks
from sdflow_jax.files.roles import ROLES
from sdflow_jax.images.resizing import crop_and_resize

# Rows 35 to 223 and columns 32 to 220 of 256: what upstream's identity loss (`common/id_loss.py`)
# shows ArcFace networks of faces aligned as in FFHQ.
FFHQ_FACE_CROP = (35 / 256, 32 / 256, 188 / 256)
_ARCFACE_SIZE = 112


class FaceIdentity(nnx.Module):
    """Identity embeddings of aligned faces.

    Args:
      encoder: maps images to embeddings of unit length.
      image_size: side of its input in pixels; None gives it images as they come.
      crop: the part of the image that it sees, as (top, left, side) in shares of the image's side;
        None is all of it.
    """

    def __init__(
        self,
        encoder: nnx.Module,
        *,
        image_size: int | None = None,
        crop: tuple[float, float, float] | None = None,
    ):
        self.encoder = encoder
        self.image_size = image_size
        self.crop = crop

    @property
    def least_size(self) -> int | None:
        """Side of the smallest images that show all it can see; None where larger ones always do."""
        _, _, share = self.crop or (0.0, 0.0, 1.0)
        return None if self.image_size is None else math.ceil(self.image_size / share)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b e"]:
        """Embeddings of unit length, of images in [-1, 1]."""
        return self.encoder(crop_and_resize(images, self.image_size, crop=self.crop))


def load_face_identity(path: str | os.PathLike[str]) -> FaceIdentity:
    """Load an identity encoder's file.

    Its note `crop` ("top,left,side") is the part of the face that it sees. Without it, networks with
    ArcFace's 112-pixel input get `FFHQ_FACE_CROP`, and others the whole image.

    Raises:
      NetworkFileError: if the file is missing, damaged or of another kind.
    """
    encoder = networks.load_network(path, expected=ROLES["identity_encoder"])
    note = networks.read_metadata(path).get("crop")
    if note is not None:
        crop = tuple(float(share) for share in note.split(","))
    else:
        crop = FFHQ_FACE_CROP if encoder.image_size == _ARCFACE_SIZE else None
    return FaceIdentity(encoder, image_size=encoder.image_size, crop=crop)
