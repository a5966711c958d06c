"""How far two sets of judges agree on the same faces, unedited and edited."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from jaxtyping import Bool, Float

from sdflow_jax.evaluation.evaluation_setup import EvaluationSetup
from sdflow_jax.evaluation.judges import JudgeOutputs, Judges
from sdflow_jax.evaluation.requests import Request, target_variables
from sdflow_jax.evaluation.source_faces import SourceFaces
from sdflow_jax.evaluation.strength_sweep import edit_faces
from sdflow_jax.images.batching import map_batches
from sdflow_jax.methods.method import EditingMethod


def agreement(
    setup: EvaluationSetup,
    other: Judges,
    method: EditingMethod,
    faces: SourceFaces,
    requests: Sequence[Request],
    *,
    batch_size: int,
) -> dict[str, Any]:
    """Measure how often two sets of judges decide the same, on unedited and on edited faces.

    Faces are left out where the method could not compute the edit, or the way there and back
    without one, and where one of the sets finds no face after either.

    Returns:
      An entry for the "unedited" faces, and one by name for each request, edited at strength 1:

        num_faces: how many faces were compared.
        ATTRIBUTE, of each that both judge: `same_decision`, the share of faces on which both decide
          alike, and `correlation`, of their probabilities.
        identity_correlation: how the identity cosines of one set follow those of the other; of
          every pair of unedited faces, or of each edited face and its unedited self.

      A number is None where one of the sets never varies, or no face is left.
    """
    shared = [name for name in setup.judges.attributes if name in other.attributes]

    def judged(
        strength: float, is_edited: Bool[np.ndarray, " a"]
    ) -> tuple[tuple[JudgeOutputs, JudgeOutputs], Bool[np.ndarray, " f"]]:
        targets = target_variables(faces.semantic_variables, faces.is_on, strength, is_edited)

        def judge(code, targets):
            images, is_finite = edit_faces(setup, method, code, targets)
            return (setup.judges.judge(images), other.judge(images)), is_finite

        outputs, is_finite = map_batches(judge, batch_size, faces.code, targets)
        return outputs, is_finite & outputs[0].is_read & outputs[1].is_read

    nothing = np.zeros(len(method.attributes), bool)
    unedited, is_returned = judged(0.0, nothing)
    kept = _chosen(unedited, is_returned, "unedited")
    above_diagonal = np.triu_indices(np.sum(is_returned), 1)
    cosines = [(v.embeddings @ v.embeddings.T)[above_diagonal] for v in kept]
    found = {"unedited": _compare(kept, cosines, shared, setup.judges, other)}
    for request in requests:
        is_edited = np.isin(
            np.arange(len(method.attributes)),
            [method.attributes.index(name) for name in request.attributes],
        )
        edited, is_finite = judged(1.0, is_edited)
        is_kept = is_returned & is_finite
        kept = _chosen(edited, is_kept, request.name)
        cosines = [
            np.sum(after.embeddings * before.embeddings[is_kept], axis=1)
            for after, before in zip(kept, unedited, strict=True)
        ]
        found[request.name] = _compare(kept, cosines, shared, setup.judges, other)
    return found


def _chosen(
    outputs: tuple[JudgeOutputs, JudgeOutputs], is_kept: Bool[np.ndarray, " f"], what: str
) -> tuple[JudgeOutputs, JudgeOutputs]:
    if not is_kept.all():
        logging.warning(
            "%s: %d of %d faces could not be computed or were not found; the judges' agreement leaves"
            " them out",
            *(what, np.sum(~is_kept), len(is_kept)),
        )
    return jax.tree.map(lambda x: x[is_kept], outputs)


def _compare(
    outputs: tuple[JudgeOutputs, JudgeOutputs],
    cosines: Sequence[Float[np.ndarray, " k"]],
    shared: Sequence[str],
    first: Judges,
    second: Judges,
) -> dict[str, Any]:
    count = len(outputs[0].probabilities)
    entry: dict[str, Any] = {"num_faces": count, "identity_correlation": _correlation(*cosines)}
    for name in shared:
        a = outputs[0].probabilities[:, first.attributes.index(name)]
        b = outputs[1].probabilities[:, second.attributes.index(name)]
        entry[name] = {
            "same_decision": round(float(np.mean((a > 0.5) == (b > 0.5))), 4) if count else None,
            "correlation": _correlation(a, b),
        }
    return entry


def _correlation(a: Float[np.ndarray, " k"], b: Float[np.ndarray, " k"]) -> float | None:
    if len(a) < 2 or np.std(a) < 1e-9 or np.std(b) < 1e-9:
        return None
    return round(float(np.corrcoef(a, b)[0, 1]), 4)
