"""Editing faces harder and harder, and asking the judges each time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Bool, Float

from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.evaluation.errors import EvaluationError
from sdflow_jax.evaluation.evaluation_setup import EvaluationSetup
from sdflow_jax.evaluation.judges import JudgeOutputs, Judges
from sdflow_jax.evaluation.requests import Request, target_variables
from sdflow_jax.evaluation.source_faces import SourceFaces
from sdflow_jax.images.batching import map_batches
from sdflow_jax.methods.method import EditingMethod

# By so much below its highest an accuracy does not come back: the edits have left what the generator makes faces of.
# Curves end where they are highest in any case; all that is saved is time.
FALL = 0.2


class EditedFaces(NamedTuple):
    """Whole edited faces and the judges' outputs; `is_finite` is false where the edit failed."""

    images: jax.Array
    outputs: JudgeOutputs
    is_finite: jax.Array


@jax.jit
def edit_latents(method, code, targets):
    """Edited latents [b, n, d], and where they could be computed, [b]."""
    edited = method.decode(code, targets)
    return edited, jnp.all(jnp.isfinite(edited), axis=(1, 2))


def edit_faces(
    setup: EvaluationSetup, method: EditingMethod, code: Any, targets: Float[Array, "b a"]
) -> tuple[Float[Array, "b r r 3"], Bool[Array, " b"]]:
    """Set semantic variables and synthesize what the judges see: the faces, and where the edit could
    be computed.
    """
    edited, is_finite = edit_latents(method, code, targets)
    return setup.judged_faces(edited), is_finite


def judge_columns(judges: Judges, request: Request) -> list[int]:
    """Where the judges' classifier has the attributes of a request.

    Raises:
      EvaluationError: if it lacks one.
    """
    missing = [name for name in request.attributes if name not in judges.attributes]
    if missing:
        raise EvaluationError(
            f"the judges know {', '.join(judges.attributes)}, so they cannot judge"
            f" an edit of {', '.join(missing)}"
        )
    return [judges.attributes.index(name) for name in request.attributes]


def counted_faces(
    faces: SourceFaces, columns: Sequence[int], judged: Sequence[int]
) -> Bool[np.ndarray, " f"]:
    """Which faces a request counts: those that the judges find, and on whose attributes both classifiers
    agree beforehand.

    The training classifier decides which way to edit. Where the judge sees the reconstruction on
    the other side from the start, it could see nothing change, and the face would count as a
    success for free.
    """
    is_judged_on = faces.reconstruction.probabilities[:, list(judged)] > 0.5
    do_agree = np.all(faces.is_on[:, list(columns)] == is_judged_on, axis=1)
    return do_agree & faces.reconstruction.is_read


def sweep(
    setup: EvaluationSetup,
    method: EditingMethod,
    faces: SourceFaces,
    request: Request,
    *,
    strengths: Sequence[float],
    batch_size: int,
    stop_at: float = 0.99,
) -> EditOutcomes:
    """Raise the strength of one request until the editing accuracy is high enough, or has fallen by more than
    `FALL` below its highest, as it does where faces fall apart, or strengths run out.

    For each face, an edit is a *success* if the judge's decision on the edited image is the
    opposite of its decision on the reconstruction, for every attribute of the request; *identity
    preservation* is the cosine between the identity embeddings of the edited image and of the
    reconstruction; *attribute preservation* is the share of the judge's other attributes whose
    decision is the same on both. A face that the judges no longer find after the edit is no success,
    and keeps neither identity nor attributes: both are 0.

    The reconstruction is the reference because the edit starts from it: what lies between original
    and reconstruction is the inversion's loss, the same for every method (`identity_original`
    includes it).

    Args:
      setup: generator and judges.
      method: the editing method.
      faces: as returned by `observe_faces`.
      request: the attributes to drive to their opposite.
      strengths: rising; see `target_variables` for what a strength means.
      batch_size: faces per compiled call.
      stop_at: editing accuracy at which to stop.

    Raises:
      EvaluationError: if an attribute is unknown to the judges, or no face is left to count.
      FloatingPointError: if an edit of the first strength could not be computed; the curve ends
        before a later one that could not.
    """
    judged = judge_columns(setup.judges, request)
    columns = [method.attributes.index(name) for name in request.attributes]
    others = np.setdiff1d(np.arange(len(setup.judges.attributes)), judged)
    is_counted = counted_faces(faces, columns, judged)
    if not is_counted.any():
        num_lost = np.sum(~faces.reconstruction.is_read)
        lost = f", or find none ({num_lost} of them)" if num_lost else ""
        raise EvaluationError(
            f"{request.name}: the training and the evaluation classifier disagree on all"
            f" {len(is_counted)} faces{lost}; are their attributes in the order that their files say?"
        )
    faces = jax.tree.map(lambda x: x[is_counted], faces)
    is_edited = np.isin(np.arange(len(method.attributes)), columns)
    measured, highest = [], 0.0
    for strength in strengths:
        targets = target_variables(faces.semantic_variables, faces.is_on, strength, is_edited)
        try:
            outputs = judge_targets(
                setup, method, faces.code, targets, batch_size=batch_size, what=request.name
            )
        except FloatingPointError as error:
            if not measured:
                raise
            # A flow far from where it was trained; what is measured already stands.
            logging.warning("%s; the curve ends before strength %.2f", error, strength)
            break
        is_same = outputs.decides_as(faces.reconstruction)
        is_turned = outputs.decides_against(faces.reconstruction)
        success = np.all(is_turned[:, judged], axis=1).astype(np.float64)
        identity = np.sum(outputs.embeddings * faces.reconstruction.embeddings, axis=1)
        identity_original = np.sum(outputs.embeddings * faces.original.embeddings, axis=1)
        preserved = is_same[:, others].mean(1) if len(others) else np.full(len(success), np.nan)
        measured.append((success, identity, identity_original, preserved, outputs.probabilities))
        logging.info(
            "%s, strength %.2f: accuracy %.1f%%, identity %.3f, other attributes %.1f%%",
            *(
                request.name,
                strength,
                100 * success.mean(),
                identity.mean(),
                100 * preserved.mean(),
            ),
        )
        highest = max(highest, success.mean())
        if success.mean() >= stop_at or success.mean() < highest - FALL:
            break
    success, identity, identity_original, preserved, readings = (
        np.stack(columns, axis=1) for columns in zip(*measured, strict=True)
    )
    return EditOutcomes(
        strengths=np.asarray(strengths[: len(measured)], np.float64),
        success=success,
        identity=identity,
        identity_original=identity_original,
        attributes=preserved,
        num_excluded=int(np.sum(~is_counted)),
        was_on=faces.is_on[:, columns[0]] if len(columns) == 1 else None,
        readings=readings.astype(np.float32),
        readings_before=faces.reconstruction.probabilities.astype(np.float32),
        is_counted=is_counted,
    )


def judge_targets(
    setup: EvaluationSetup,
    method: EditingMethod,
    code: Any,
    targets: Float[np.ndarray, "f a"],
    *,
    batch_size: int,
    what: str,
) -> JudgeOutputs:
    """The judges' outputs on all faces edited to `targets`, as numpy arrays.

    Raises:
      FloatingPointError: if an edit could not be computed; `what` says which.
    """

    def judge(code, targets):
        images, is_finite = edit_faces(setup, method, code, targets)
        return setup.judges.judge(images), is_finite  # the images stay where they are

    outputs, is_finite = map_batches(judge, batch_size, code, targets)
    if not is_finite.all():
        raise FloatingPointError(
            f"{what}: {np.sum(~is_finite)} of {len(is_finite)} edits could not be computed;"
            " give the solver more steps or looser tolerances"
        )
    return outputs


def edited_images(
    setup: EvaluationSetup,
    method: EditingMethod,
    code: Any,
    targets: Float[np.ndarray, "f a"],
    *,
    batch_size: int,
    num_shown: int | None = None,
) -> EditedFaces:
    """The faces edited to `targets`, with images of the first `num_shown`, or of all: few enough to
    keep, as for figures.
    """

    def edit(code, targets):
        edited, is_finite = edit_latents(method, code, targets)
        return edited, setup.judges.judge(setup.judged_faces(edited)), is_finite

    edited, outputs, is_finite = map_batches(edit, batch_size, code, targets)
    return EditedFaces(setup.whole_faces(edited[:num_shown]), outputs, is_finite)
