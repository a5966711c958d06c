"""The one rule by which a method's settings are chosen."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.study.areas import MEASURES, area


@dataclasses.dataclass(frozen=True)
class Score:
    """What one trial is worth.

    Attributes:
      value: the higher the better, at most 1.
      reach: request -> highest editing accuracy, in [0, 1].
      preservation: measure -> mean area over the requests for which it means something.
    """

    value: float
    reach: Mapping[str, float]
    preservation: Mapping[str, float]


def score(outcomes: Mapping[str, EditOutcomes]) -> Score:
    """Score one training by its evaluation, with the measure of the results' tables.

    Of each request the area under its curves of preservation against editing accuracy: the mean, over the
    accuracies from 0 to 95%, of what is preserved where an accuracy is first reached, 0 where it never is
    (`areas.area`). The score is the mean over the requests, single edits and joint ones alike, of the mean of
    both measures' areas, identity and other attributes. Nothing in it can be set, and whatever an edit
    costs or fails to do lowers it.

    Args:
      outcomes: request -> outcome.

    Raises:
      ValueError: if there is no request.
    """
    if not outcomes:
        raise ValueError("nothing to score: the evaluation measured no request")
    areas: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    of_requests = []
    for outcome in outcomes.values():
        found = {measure: area(outcome, measure) for measure in MEASURES}
        known = {measure: value for measure, value in found.items() if value is not None}
        of_requests.append(np.mean(list(known.values())))
        for measure, value in known.items():
            areas[measure].append(value)
    return Score(
        float(np.mean(of_requests)),
        {name: float(outcome.success.mean(0).max()) for name, outcome in outcomes.items()},
        {measure: float(np.mean(values)) for measure, values in areas.items() if values},
    )
