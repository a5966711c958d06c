"""Everything that the results' page tells of, beside the pictures."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from sdflow_jax.study import few_trainings
from sdflow_jax.study.areas import (
    HIGHEST,
    MEASURES,
    Estimate,
    Resampled,
    at_level,
    common_level,
    estimate,
    mean_draws,
    variance_of_trainings,
)
from sdflow_jax.study.entanglement import Entanglement

_ALL = dict(enumerate(("both", "all three", "all four", "all five", "all six"), 2))

Areas = Mapping[tuple[str, str, str], Resampled]


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds to train, of one seed, and milliseconds for an edit, the least over seeds, both on one device; None
    where it was not measured.
    """

    training: float | None
    edit: float | None
    device: str


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was found.

    Attributes:
      areas: judges -> (method, request, measure) -> curves and areas.
      summaries: (method, judges) -> the evaluation's summary of each seed.
      entanglement: method -> what its edits drag along, by the first judges.
      correlation: in the data, of each edited attribute with all of the judge's, [e, j].
      independence: (method, code, probe) -> "area" and "accuracy" -> of each attribute.
      num_probed: faces about which the probes were asked.
      costs: method -> what it costs.
      core_seconds: of each step, seconds times processor cores.
      num_untimed: trainings whose time is not among them.
    """

    areas: Mapping[str, Areas]
    summaries: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
    entanglement: Mapping[str, Entanglement] = dataclasses.field(default_factory=dict)
    correlation: Float[np.ndarray, "e j"] | None = None
    independence: Mapping[tuple[str, str, str], Mapping[str, Sequence[Estimate | None]]] = (
        dataclasses.field(default_factory=dict)
    )
    num_probed: int = 0
    costs: Mapping[str, Cost] = dataclasses.field(default_factory=dict)
    core_seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    num_untimed: int = 0


def requests_of(areas: Areas) -> list[str]:
    """The requests that were measured, in their order."""
    return list(dict.fromkeys(request for _, request, _ in areas))


def kinds_of(areas: Areas) -> dict[str, list[str]]:
    """Kind of edit -> its requests: one attribute, two at once, all of so many at once; only kinds that there are."""
    requests = requests_of(areas)
    most = max(name.count("+") for name in requests)
    kinds = {
        "one attribute": [name for name in requests if "+" not in name],
        "two at once": [name for name in requests if name.count("+") == 1 and most > 1],
        f"{_ALL.get(most + 1, f'all {most + 1}')} at once": [
            name for name in requests if most and name.count("+") == most
        ],
    }
    return {kind: names for kind, names in kinds.items() if names}


def levels_of(areas: Areas, methods: Sequence[str]) -> dict[str, float]:
    """Request -> the highest accuracy that all of these methods reach, of those requests where there is one.

    A method that reaches less than half as far as the best does not count: it would be compared where hardly
    anything is edited, and the others with it.
    """
    found = {}
    for request in requests_of(areas):
        of_methods = [
            areas[x, request, "identity"] for x in methods if (x, request, "identity") in areas
        ]
        best = max(x.highest_accuracy for x in of_methods)
        level = common_level([x for x in of_methods if x.highest_accuracy >= best / 2])
        if level:
            found[request] = level
    return found


def strangers_of(
    summaries: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]], judges: str
) -> float | None:
    """Mean identity of two different faces to the judges; None if no evaluation measured it."""
    for (_, own), of_method in summaries.items():
        for summary in of_method if own == judges else ():
            for found in summary.get("sampling", {}).values():
                if (distance := found["diversity_of_faces"]) is not None:
                    return 1.0 - distance
    return None


def mean_reach(areas: Areas, method: str, requests: Sequence[str]) -> Estimate | None:
    """Mean of the highest accuracies over some requests."""
    found = [x for request in requests if (x := _any(areas, method, request)) is not None]
    if not found:
        return None
    return estimate(
        np.mean([x.highest_accuracy for x in found]),
        np.mean([x.highest_accuracies for x in found], axis=0),
        found[0].degrees,
        ends=(0.0, HIGHEST),
    )


def mean_kept(
    areas: Areas, method: str, requests: Sequence[str], measure: str, levels: Mapping[str, float]
) -> Estimate | None:
    """Mean over some requests of what is preserved at equal accuracy; None if one of them is not reached."""
    own = [
        (areas[method, request, measure], levels[request])
        for request in requests
        if request in levels and (method, request, measure) in areas
    ]
    if not own or any(common_level([found]) < level for found, level in own):
        return None
    values, draws = zip(*(at_level(*pair) for pair in own), strict=True)
    return estimate(np.mean(values), mean_draws(draws), own[0][0].degrees)


@dataclasses.dataclass(frozen=True)
class Lead:
    """One comparison.

    Attributes:
      what: "reach", "identity" or "attributes".
      request: of the edit, or a kind of edits.
      method: of whom.
      other: over whom.
      level: accuracy at which preservation is compared; None for reach, and for several edits.
      value: by how much.
      draws: of the method's own number, [2, r], see `areas`.
      draws_other: of the other's, the faces being the same in each resample.
      num_seeds: trainings of each.
    """

    what: str
    request: str
    method: str
    other: str
    level: float | None
    value: float
    draws: Float[np.ndarray, "2 r"]
    draws_other: Float[np.ndarray, "2 r"]
    num_seeds: tuple[int, int]

    @property
    def degrees(self) -> float:
        """Of freedom, of both methods' trainings; 0 if one of them has a single training."""
        variances = [variance_of_trainings(x) for x in (self.draws, self.draws_other)]
        return few_trainings.joint_degrees(variances, [number - 1 for number in self.num_seeds])

    @property
    def found(self) -> Estimate:
        """The value with its interval."""
        return estimate(self.value, self.draws - self.draws_other, self.degrees)


def leads(areas: Areas, pairs: Sequence[tuple[str, str]]) -> list[Lead]:
    """Every comparison of these pairs of methods: of reach, and of what is preserved at the highest accuracy
    that both reach.
    """
    found = []
    for request in requests_of(areas):
        for method, other in pairs:
            ours, theirs = (_any(areas, x, request) for x in (method, other))
            if ours is None or theirs is None:
                continue
            told = (request, method, other)
            value = ours.highest_accuracy - theirs.highest_accuracy
            draws = (ours.highest_accuracies, theirs.highest_accuracies)
            num_seeds = (ours.num_seeds, theirs.num_seeds)
            found.append(Lead("reach", *told, None, value, *draws, num_seeds))
            level = common_level([ours, theirs])
            for measure in MEASURES if level else ():
                keys = [(x, request, measure) for x in (method, other)]
                if all(key in areas for key in keys):
                    (a, draws_a), (b, draws_b) = (at_level(areas[key], level) for key in keys)
                    # A resample in which one of them does not get there compares nothing.
                    gap = np.where(np.isnan(draws_a) | np.isnan(draws_b), np.nan, 0.0)
                    draws = (draws_a + gap, draws_b + gap)
                    found.append(Lead(measure, *told, level, a - b, *draws, num_seeds))
    return found


def leads_by_kind(areas: Areas, pairs: Sequence[tuple[str, str]]) -> list[Lead]:
    """The same, each the mean over the edits of one kind."""
    every = leads(areas, pairs)
    means = []
    for kind, requests in kinds_of(areas).items():
        for method, other in pairs:
            for what in ("reach", *MEASURES):
                own = [
                    lead
                    for lead in every
                    if (lead.what, lead.method, lead.other) == (what, method, other)
                    and lead.request in requests
                ]
                if own:
                    value = float(np.mean([lead.value for lead in own]))
                    draws = [mean_draws([lead.draws for lead in own])]
                    draws += [mean_draws([lead.draws_other for lead in own])]
                    told = (what, kind, method, other)
                    means.append(Lead(*told, None, value, *draws, own[0].num_seeds))
    return means


def _any(areas: Areas, method: str, request: str) -> Resampled | None:
    return next((x for m in MEASURES if (x := areas.get((method, request, m))) is not None), None)
