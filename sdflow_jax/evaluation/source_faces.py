"""The faces of an evaluation before anything is edited."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from sdflow_jax.evaluation.errors import EvaluationError
from sdflow_jax.evaluation.evaluation_setup import EvaluationSetup
from sdflow_jax.evaluation.judges import JudgeOutputs
from sdflow_jax.images.batching import map_batches
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.methods.method import EditingMethod


class SourceFaces(NamedTuple):
    """Everything known about the faces before any edit; all arrays have one row per face.

    Attributes:
      code: the method's codes, a pytree.
      semantic_variables: as the method reads them, in [0, 1], [f, a].
      predictions: the training classifier's probabilities of the same attributes, [f, a].
      original: the judges' outputs on the original images.
      reconstruction: their outputs on the reconstructions G(w).
    """

    code: Any
    semantic_variables: np.ndarray
    predictions: np.ndarray
    original: JudgeOutputs
    reconstruction: JudgeOutputs

    @property
    def is_on(self) -> np.ndarray:
        """Whether the training classifier finds the attribute, [f, a]; edits go to the opposite."""
        return self.predictions > 0.5


class ShownFaces(NamedTuple):
    """Originals and whole reconstructions of the first few faces, in [-1, 1]."""

    originals: np.ndarray
    reconstructions: np.ndarray


@jax.jit
def encode_pictures(method, w_plus, images):
    """Codes and semantic variables of 8-bit pictures with their latents, and the pictures in [-1, 1]."""
    images = to_signed(images)
    return method.encode(w_plus, images), images


def _observe(setup, method, w_plus, images):
    encoded, images = encode_pictures(method, w_plus, images)
    return *encoded, *(setup.judges.judge(x) for x in (images, setup.judged_faces(w_plus)))


def face_batches(
    faces: Sequence[Mapping[str, Any]], count: int, size: int
) -> Iterator[dict[str, np.ndarray]]:
    """The first `count` of `faces`, stacked, up to `size` at a time."""
    for start in range(0, count, size):
        items = [faces[i] for i in range(start, min(start + size, count))]
        yield {
            key: np.stack([item[key] for item in items])
            for key in ("image", "w_plus", "predictions")
        }


def observe_faces(
    setup: EvaluationSetup,
    method: EditingMethod,
    faces: Sequence[Mapping[str, Any]],
    *,
    num_faces: int,
    num_shown: int,
    prediction_columns: Sequence[int],
    batch_size: int,
) -> tuple[SourceFaces, ShownFaces]:
    """Encode the source faces and ask the judges about originals and reconstructions.

    Args:
      setup: generator and judges.
      method: the editing method.
      faces: items with `image` (uint8), `w_plus` and `predictions`, e.g. a split from `open_split`.
      num_faces: how many to take, from the first.
      num_shown: how many of them to keep as images.
      prediction_columns: the columns of `predictions` that are the method's attributes.
      batch_size: faces per compiled call.

    Raises:
      EvaluationError: if there are no faces.
      FloatingPointError: if the method could not encode a face.
    """
    num_faces = min(num_faces, len(faces))
    if num_faces < 1:
        raise EvaluationError(
            "there is no face to evaluate; is the test split empty, or num_faces zero?"
        )
    pieces, shown, num_kept = [], [], 0
    # Not all at once: there may be more pictures than fit in memory.
    for batch in face_batches(faces, num_faces, batch_size):
        code, variables, original, reconstruction = map_batches(
            functools.partial(_observe, setup, method), batch_size, batch["w_plus"], batch["image"]
        )
        predictions = batch["predictions"][:, list(prediction_columns)]
        pieces.append(SourceFaces(code, variables, predictions, original, reconstruction))
        if num_kept < num_shown:
            few = slice(num_shown - num_kept)
            originals = np.asarray(to_signed(batch["image"][few]))
            shown.append(ShownFaces(originals, setup.whole_faces(batch["w_plus"][few])))
            num_kept += len(originals)
    observed = jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(observed.code)):
        raise FloatingPointError(
            "some faces could not be encoded; give the solver more steps or looser tolerances"
        )
    return observed, ShownFaces(*(np.concatenate(parts) for parts in zip(*shown, strict=True)))
