"""The networks that judge edits, unknown to training: a classifier and an identity encoder."""

import math
import os
from typing import NamedTuple, Protocol

import jax
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.files import networks
from sdflow_jax.files.attribute_names import attribute_names
from sdflow_jax.images.resizing import crop_and_resize

# Rows 35 to 223 and columns 32 to 220 of 256: what upstream's identity loss (`common/id_loss.py`)
# shows ArcFace networks of faces aligned as in FFHQ.
FFHQ_FACE_CROP = (35 / 256, 32 / 256, 188 / 256)


class JudgeOutputs(NamedTuple):
    """What the judges find in a batch of images.

    Attributes:
      probabilities: of each of the judges' attributes, in [0, 1], [b, j]; above one half counts as
        "has it".
      embeddings: identity embeddings of unit length, [b, e].
    """

    probabilities: jax.Array
    embeddings: jax.Array


class Judges(Protocol):
    """What tells whether an edit succeeded and what it kept: networks on the device, or programs on
    the host.

    Attributes:
      attributes: names of the attributes judged.
      image_size: side of the images from which they learn all that they can; None where larger ones
        always tell more.
    """

    attributes: tuple[str, ...]
    image_size: int | None

    def judge(self, images: Float[Array, "b h w 3"]) -> JudgeOutputs:
        """Judge images in [-1, 1], every row independently; called with values, outside `jax.jit`."""
        ...


@jax.jit
def _judge(judges, images):
    return judges(images)


class NetworkJudges(nnx.Module):
    """`Judges` that are networks: an evaluation classifier and an identity encoder, each with its own
    input size.

    Args:
      classifier: an `AttributeClassifier`, or another network whose `attribute_probabilities` of
        images begin with the columns `attributes`.
      identity_encoder: maps images to embeddings of unit length.
      attributes: names of the classifier's attributes.
      classifier_size: side of the classifier's input in pixels; None takes images as they come.
      identity_size: the same for the identity encoder.
      identity_crop: the part of the image that the identity encoder sees, as (top, left, side) in
        shares of the image's side; None is all of it.
    """

    def __init__(
        self,
        classifier: nnx.Module,
        identity_encoder: nnx.Module,
        *,
        attributes: tuple[str, ...],
        classifier_size: int | None = None,
        identity_size: int | None = None,
        identity_crop: tuple[float, float, float] | None = None,
    ):
        self.classifier = classifier
        self.identity_encoder = identity_encoder
        self.attributes = tuple(attributes)
        self.classifier_size = classifier_size
        self.identity_size = identity_size
        self.identity_crop = identity_crop

    @property
    def image_size(self) -> int | None:
        """Side of the smallest images that show both networks all they can see; None if one takes
        images of any size.
        """
        if self.classifier_size is None or self.identity_size is None:
            return None
        _, _, share = self.identity_crop or (0.0, 0.0, 1.0)
        return max(self.classifier_size, math.ceil(self.identity_size / share))

    def __call__(self, images: Float[Array, "b h w 3"]) -> JudgeOutputs:
        """Judge images in [-1, 1]; every row independently of the others."""
        probabilities = self.classifier.attribute_probabilities(
            crop_and_resize(images, self.classifier_size)
        )
        faces = crop_and_resize(images, self.identity_size, crop=self.identity_crop)
        return JudgeOutputs(probabilities[:, : len(self.attributes)], self.identity_encoder(faces))

    def judge(self, images: Float[Array, "b h w 3"]) -> JudgeOutputs:
        """The same, compiled."""
        return _judge(self, images)


def load_judges(
    evaluation_classifier: str | os.PathLike[str],
    identity_encoder: str | os.PathLike[str],
    *,
    image_size: int,
) -> NetworkJudges:
    """Load the judges' network files.

    The note `image_size` of the classifier's file is the size of its input, and the note `crop` of
    the identity encoder's ("top,left,side") the part of the face that it sees. Without that note,
    networks with ArcFace's 112-pixel input get `FFHQ_FACE_CROP`, and others the whole image.

    Args:
      evaluation_classifier: a classifier that training does not see.
      identity_encoder: an identity encoder that training does not see.
      image_size: side of the classifier's input if its file does not tell.

    Raises:
      NetworkFileError: if a file is missing, damaged or of another kind.
      ValueError: if the classifier's file does not name its attributes.
    """
    notes = networks.read_metadata(evaluation_classifier)
    classifier = networks.load_network(evaluation_classifier, expected="AttributeClassifier")
    encoder = networks.load_network(identity_encoder)
    if not hasattr(encoder, "image_size"):
        raise networks.NetworkFileError(
            f"{identity_encoder}: expected an IdentityEncoder or IResNet, the file holds a"
            f" {type(encoder).__name__}"
        )
    crop = networks.read_metadata(identity_encoder).get("crop")
    if crop is not None:
        crop = tuple(float(share) for share in crop.split(","))
    elif encoder.image_size == 112:
        crop = FFHQ_FACE_CROP
    return NetworkJudges(
        classifier,
        encoder,
        attributes=attribute_names(notes),
        classifier_size=int(notes.get("image_size", image_size)),
        identity_size=encoder.image_size,
        identity_crop=crop,
    )
