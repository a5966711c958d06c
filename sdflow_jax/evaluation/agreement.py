"""How far two sets of judges agree on the same faces, unedited and edited."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from sdflow_jax.batching import map_batches
from sdflow_jax.evaluation.judges import Jury, Verdict
from sdflow_jax.evaluation.protocol import EditingMethod
from sdflow_jax.evaluation.requests import Request, target_variables
from sdflow_jax.evaluation.source_faces import SourceFaces
from sdflow_jax.evaluation.strength_sweep import edit_faces
from sdflow_jax.evaluation.world import World


def agreement(
    world: World,
    other: Jury,
    method: EditingMethod,
    faces: SourceFaces,
    requests: Sequence[Request],
    *,
    batch_size: int,
) -> dict[str, Any]:
    """Show the same faces to the world's judges and to others.

    Returns:
      "unedited" and, for each request at strength 1, its name -> for each attribute that both judge
      `same_decision`, the share of faces on which they decide the same, and `correlation` of their
      probabilities; and `identity_correlation`: of the two cosines, of every two unedited faces, or
      of each edited face with its unedited self. None where a side never varies.
    """
    shared = [name for name in world.judges.attributes if name in other.attributes]

    def judged(strength: float, is_edited: np.ndarray) -> tuple[Verdict, Verdict]:
        targets = target_variables(faces.semantic_variables, faces.is_on, strength, is_edited)

        def judge(code, targets):
            images, _ = edit_faces(world, method, code, targets)
            return world.judges.judge(images), other.judge(images)

        return map_batches(judge, batch_size, faces.code, targets)

    nothing = np.zeros(len(method.attributes), bool)
    unedited = judged(0.0, nothing)
    above_diagonal = np.triu_indices(len(faces.predictions), 1)
    cosines = [(v.embeddings @ v.embeddings.T)[above_diagonal] for v in unedited]
    found = {"unedited": _compare(unedited, cosines, shared, world.judges, other)}
    for request in requests:
        is_edited = np.isin(
            np.arange(len(method.attributes)),
            [method.attributes.index(name) for name in request.attributes],
        )
        edited = judged(1.0, is_edited)
        cosines = [
            np.sum(after.embeddings * before.embeddings, axis=1)
            for after, before in zip(edited, unedited, strict=True)
        ]
        found[request.name] = _compare(edited, cosines, shared, world.judges, other)
    return found


def _compare(
    verdicts: tuple[Verdict, Verdict],
    cosines: Sequence[Float[np.ndarray, " k"]],
    shared: Sequence[str],
    first: Jury,
    second: Jury,
) -> dict[str, Any]:
    entry: dict[str, Any] = {"identity_correlation": _correlation(*cosines)}
    for name in shared:
        a = verdicts[0].probabilities[:, first.attributes.index(name)]
        b = verdicts[1].probabilities[:, second.attributes.index(name)]
        entry[name] = {
            "same_decision": round(float(np.mean((a > 0.5) == (b > 0.5))), 4),
            "correlation": _correlation(a, b),
        }
    return entry


def _correlation(a: Float[np.ndarray, " k"], b: Float[np.ndarray, " k"]) -> float | None:
    if len(a) < 2 or np.std(a) < 1e-9 or np.std(b) < 1e-9:
        return None
    return round(float(np.corrcoef(a, b)[0, 1]), 4)
