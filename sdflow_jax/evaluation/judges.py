"""The networks that judge edits, unknown to training: a classifier and an identity encoder."""

import os
from typing import NamedTuple, Protocol

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from sdflow_jax.files import networks
from sdflow_jax.files.attribute_names import attribute_names
from sdflow_jax.images.resizing import crop_and_resize
from sdflow_jax.models.face_identity import FaceIdentity, load_face_identity


class JudgeOutputs(NamedTuple):
    """What the judges find in a batch of images.

    Attributes:
      probabilities: of each of the judges' attributes, in [0, 1], [b, j]; above one half counts as
        "has it". NaN in a row in which the judges find no face: they decide nothing about it.
      embeddings: identity embeddings of unit length, [b, e]; zero, like nobody's, where there is no
        face, so that its cosine with any other is 0.
    """

    probabilities: jax.Array
    embeddings: jax.Array

    @property
    def is_read(self) -> Bool[np.ndarray, "*b"]:
        """Whether the judges found a face."""
        return np.isfinite(self.probabilities).all(-1)

    def decides_as(self, other: "JudgeOutputs") -> Bool[np.ndarray, "*b j"]:
        """Whether a face was found in both, and the decision is the same."""
        is_same = (self.probabilities > 0.5) == (other.probabilities > 0.5)
        return is_same & (self.is_read & other.is_read)[..., None]

    def decides_against(self, other: "JudgeOutputs") -> Bool[np.ndarray, "*b j"]:
        """Whether a face was found in both, and the decision is the opposite."""
        is_turned = (self.probabilities > 0.5) != (other.probabilities > 0.5)
        return is_turned & (self.is_read & other.is_read)[..., None]


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
      identity: maps images of any size to embeddings of unit length.
      attributes: names of the classifier's attributes.
      classifier_size: side of the classifier's input in pixels; None takes images as they come.
    """

    def __init__(
        self,
        classifier: nnx.Module,
        identity: FaceIdentity,
        *,
        attributes: tuple[str, ...],
        classifier_size: int | None = None,
    ):
        self.classifier = classifier
        self.identity = identity
        self.attributes = tuple(attributes)
        self.classifier_size = classifier_size

    @property
    def image_size(self) -> int | None:
        """Side of the smallest images that show both networks all they can see; None if one takes
        images of any size.
        """
        sizes = (self.classifier_size, self.identity.least_size)
        return None if None in sizes else max(sizes)

    def __call__(self, images: Float[Array, "b h w 3"]) -> JudgeOutputs:
        """Judge images in [-1, 1]; every row independently of the others."""
        probabilities = self.classifier.attribute_probabilities(
            crop_and_resize(images, self.classifier_size)
        )
        return JudgeOutputs(probabilities[:, : len(self.attributes)], self.identity(images))

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

    The note `image_size` of the classifier's file is the size of its input; for the identity encoder's
    see `load_face_identity`.

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
    return NetworkJudges(
        classifier,
        load_face_identity(identity_encoder),
        attributes=attribute_names(notes),
        classifier_size=int(notes.get("image_size", image_size)),
    )
