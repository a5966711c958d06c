"""How well attributes are told: accuracy, and the area under the receiver operating curve."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int8
from numpy.typing import NDArray
from scipy.stats import rankdata

from sdflow_jax.data.attribute_labels import UNKNOWN


class Score(NamedTuple):
    """How well one question is answered.

    Attributes:
      faces: how many were judged: those whose label is known.
      share: of them that have the attribute, in [0, 1]; NaN where there are none.
      accuracy: share of right answers, in [0, 1]; NaN where there are none.
      area: how often a face that has the attribute gets more than one that has not, in [0, 1]; NaN
        where the known faces are all alike.
    """

    faces: int
    share: float
    accuracy: float
    area: float


def area_under_curve(scores: NDArray, is_positive: NDArray[np.bool_]) -> float:
    """Area under the receiver operating curve: how often a positive outscores a negative."""
    ranks, count = rankdata(scores), is_positive.sum()
    above = ranks[is_positive].sum() - count * (count + 1) / 2
    return float(above / (count * (~is_positive).sum()))


def score_answers(
    logits: Float[np.ndarray, "n k"], labels: Int8[np.ndarray, "n k"]
) -> tuple[Score, ...]:
    """The score of each question.

    Args:
      logits: log-odds that the answer is 1.
      labels: 0, 1 or `UNKNOWN`.
    """
    scores = []
    for said, answer in zip(logits.T, labels.T, strict=True):
        known = answer != UNKNOWN
        said, is_so = said[known], answer[known] == 1
        has_both = is_so.any() and not is_so.all()
        scores.append(
            Score(
                faces=int(known.sum()),
                share=float(is_so.mean()) if known.any() else math.nan,
                accuracy=float(((said > 0) == is_so).mean()) if known.any() else math.nan,
                area=area_under_curve(said, is_so) if has_both else math.nan,
            )
        )
    return tuple(scores)
