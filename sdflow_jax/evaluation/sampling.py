"""New faces with chosen attributes, StyleFlow's second task: are the attributes there, and are the
faces different people?
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdflow_jax.evaluation.drawing import Figure
from sdflow_jax.evaluation.evaluation_setup import EvaluationSetup
from sdflow_jax.evaluation.judges import JudgeOutputs
from sdflow_jax.evaluation.plots import edit_grid_figure, readable
from sdflow_jax.evaluation.strength_sweep import edited_images
from sdflow_jax.methods.method import SamplingMethod

_MOST_COMBINATIONS = 16


class SampledFaces(NamedTuple):
    """Faces sampled under every combination of the attributes, from the same codes.

    Attributes:
      combinations: semantic variables, each 0 or 1, [c, a].
      images: of the first codes, [c, shown, r, r, 3].
      outputs: of all, [c, k, j] and [c, k, e].
    """

    combinations: np.ndarray
    images: np.ndarray
    outputs: JudgeOutputs


def combinations_of(num_attributes: int) -> Float[np.ndarray, "c a"]:
    """Every combination of the attributes; of more than four, sixteen at random, each attribute on in half of them."""
    if 2**num_attributes <= _MOST_COMBINATIONS:
        return np.array(list(itertools.product((0.0, 1.0), repeat=num_attributes)), np.float32)
    # Different ones in which the first attribute is off, and the opposite of each.
    random = np.random.default_rng(0)
    drawn = random.choice(2 ** (num_attributes - 1), _MOST_COMBINATIONS // 2, replace=False)
    half = drawn[:, None] >> np.arange(num_attributes)[::-1] & 1
    return np.concatenate([half, 1 - half]).astype(np.float32)


def kinds_of(setup: EvaluationSetup, method: SamplingMethod) -> tuple[str, ...]:
    """The kinds of `normal_codes` that differ for this method's codes."""
    return ("shared",) if _num_rows(setup, method) == 1 else ("independent", "shared")


def _num_rows(setup: EvaluationSetup, method: SamplingMethod) -> int:
    return method.num_rows or setup.generator.num_styles


def normal_codes(
    key: Array, count: int, num_rows: int, dim: int, kind: str
) -> Float[Array, "k n d"]:
    """Codes z ~ N(0, I): for each row its own ("independent"), or one for all rows of a face
    ("shared"), which samples faces of W as StyleFlow does.
    """
    num_draws = num_rows if kind == "independent" else 1
    z = jax.random.normal(key, (count, num_draws, dim))
    return jnp.broadcast_to(z, (count, num_rows, dim))


def sample_and_judge(
    setup: EvaluationSetup,
    method: SamplingMethod,
    *,
    num_samples: int,
    num_shown: int,
    kind: str,
    batch_size: int,
    seed: int = 0,
) -> SampledFaces:
    """Sample `num_samples` codes and turn them into faces under every combination.

    Raises:
      FloatingPointError: if the flow could not be solved.
    """
    combinations = combinations_of(len(method.attributes))
    num_rows = _num_rows(setup, method)
    codes = np.asarray(
        normal_codes(jax.random.key(seed), num_samples, num_rows, method.code_dim, kind)
    )
    images, outputs = [], []
    for combination in combinations:
        targets = np.broadcast_to(combination, (num_samples, len(combination)))

        faces = edited_images(
            setup, method, codes, targets, batch_size=batch_size, num_shown=num_shown
        )
        if not faces.is_finite.all():
            raise FloatingPointError(
                "some samples could not be computed; give the solver more steps or looser"
                " tolerances"
            )
        images.append(faces.images)
        outputs.append(faces.outputs)
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *outputs)
    return SampledFaces(combinations, np.stack(images), stacked)


def summarize_samples(
    faces: SampledFaces,
    attributes: Sequence[str],
    judged_attributes: Sequence[str],
    reference: Float[np.ndarray, "f e"],
) -> dict[str, Any]:
    """How often the judge finds what was asked, and how different the faces are.

    Args:
      faces: as from `sample_and_judge`.
      attributes: names of the combinations' columns.
      judged_attributes: names of the columns of the judges' probabilities; what is not among them is left out.
      reference: identity embeddings of different people, by the same judge.

    Returns:
      `accuracy`, attribute -> share of faces on which the judge finds what was asked, which it does not
      where it finds no face; `diversity`, the mean over the combinations of the mean identity distance
      (1 - cosine) of two faces of one; and `diversity_of_faces`, the same of the reference. A diversity
      is of the faces that the judge finds, and None where there are not two of them.
    """
    decided, is_read = faces.outputs.probabilities > 0.5, faces.outputs.is_read
    accuracy = {}
    for column, name in enumerate(attributes):
        if name in judged_attributes:
            found = decided[:, :, list(judged_attributes).index(name)]
            is_asked = faces.combinations[:, column, None] > 0.5
            accuracy[name] = round(float(np.mean(is_read & (found == is_asked))), 4)
    distances = np.array([mean_distance(embeddings) for embeddings in faces.outputs.embeddings])
    known = distances[np.isfinite(distances)]
    of_faces = mean_distance(reference)
    return {
        "samples_per_combination": int(decided.shape[1]),
        "accuracy": accuracy,
        "diversity": round(float(np.mean(known)), 4) if len(known) else None,
        "diversity_of_faces": round(of_faces, 4) if np.isfinite(of_faces) else None,
    }


def mean_distance(embeddings: Float[np.ndarray, "k e"]) -> float:
    """Mean of 1 - cosine over all pairs of two different rows of unit length.

    Rows of zeros, of faces that were not found, are left out; NaN if fewer than two others are there.
    """
    embeddings = embeddings[np.any(embeddings != 0, axis=1)]
    count = len(embeddings)
    if count < 2:
        return float("nan")
    cosines = embeddings @ embeddings.T
    return float(1.0 - (cosines.sum() - np.trace(cosines)) / (count * (count - 1)))


def samples_figure(faces: SampledFaces, attributes: Sequence[str], kind: str) -> Figure:
    """A code per row, a combination of the attributes per column."""
    signs = [[("+" if value > 0.5 else "−") for value in row] for row in faces.combinations]
    columns = [
        "\n".join(f"{sign} {readable(name)}" for sign, name in zip(row, attributes, strict=True))
        for row in signs
    ]
    count = faces.images.shape[1]
    table = [[column[i] for column in faces.images] for i in range(count)]
    how = "a code of its own for each style" if kind == "independent" else "one code for all styles"
    return edit_grid_figure(
        table,
        columns,
        [[""] * len(columns)] * count,
        caption=(
            f"New faces, not selected: a row is one draw of z ~ N(0, I), {how}; a column is one combination,"
            f"\nwith (+) or without (−): {', '.join(readable(name) for name in attributes)}."
        ),
    )
