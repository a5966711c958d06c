"""Judges that nobody here trained: dlib's face embedding, and published age and gender networks."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import expit

from sdflow_jax.evaluation.errors import EvaluationError
from sdflow_jax.evaluation.judges import JudgeOutputs
from sdflow_jax.evaluation.readers_pool import ReadersPool
from sdflow_jax.images.pixels import to_bytes
from sdflow_jax.images.resizing import crop_and_resize

YOUNG_BELOW = 40.0  # years
_SOFTNESS = 3.0  # years around it that count as neither quite young nor quite old
LEAST_SIZE = 256  # pixels, in which dlib finds the faces


class ExternalJudges:
    """`Judges` that are published networks, for Male, Young and identity; none of them knows eyeglasses.

    They read in processes of their own, one for each core, which import the program's main module: a script that
    uses them needs `if __name__ == "__main__":`.

    Raises:
      EvaluationError: if a package is not installed.
    """

    attributes = ("Male", "Young")
    image_size = LEAST_SIZE

    def __init__(self):
        try:
            self._read = ReadersPool()
        except (ImportError, FileNotFoundError) as error:
            raise EvaluationError(
                f"the external judges need packages that are not installed ({error});"
                " `make pocket-build-environment` installs them"
            ) from error

    def judge(self, images: Float[Array, "b h w 3"]) -> JudgeOutputs:
        """Judge images in [-1, 1].

        A face is Young if the age network makes it younger than 40. Where no face is found both
        probabilities are NaN, and the embedding is zero, like nobody's.
        """
        if images.shape[1] < LEAST_SIZE:
            images = crop_and_resize(jnp.asarray(images), LEAST_SIZE)
        readings = self._read(to_bytes(images))
        probabilities = np.stack(
            [readings.male, expit((YOUNG_BELOW - readings.age) / _SOFTNESS)], axis=1
        )
        lengths = np.linalg.norm(readings.embedding, axis=1, keepdims=True)
        return JudgeOutputs(probabilities, np.nan_to_num(readings.embedding / lengths))
