"""Areas under the curves of preservation against accuracy, over faces and training seeds.

Draws are resamples of a number, [2, r, ...]: in the first row of faces and trainings, in the second of faces alone,
the trainings as they are. What the first spread more than the second is due to trainings, of which there are few.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from sdflow_jax.evaluation import EvaluationSettings
from sdflow_jax.evaluation.curves import EditOutcomes, outcome_weights, preservation_at
from sdflow_jax.study import few_trainings

MEASURES = ("identity", "attributes")
# A sweep stops once accuracy is 99%. Levels near that would be missed by half of the resamples of a method that
# got there, only because nothing stronger was measured.
# Divided and not added up: a level is the number that is written for it, which a share of faces can reach exactly.
LEVELS = np.arange(96) / 100
# Where a sweep stops: the next strength takes one method to 99.1% and another to 100%, which says nothing of them.
HIGHEST = EvaluationSettings.stop_at
# The share of resamples that must reach a level at which methods are compared. Those that miss it are left out,
# and were they many, the rest would be the luckier ones.
SUPPORT = 0.99
_ROUNDING = 1e-9  # what means of equal numbers differ by is less


@dataclasses.dataclass(frozen=True)
class Resampled:
    """Curves of one method on one request, with bootstrap resamples.

    A resample takes as many faces as there are, with replacement, the same for every seed, every
    request and every method (`outcome_weights`); and as many seeds as there are, with replacement, for
    each method on its own (`over_seeds`).

    Attributes:
      num_faces: how many faces count.
      num_seeds: how many trainings there are.
      curve: preservation at `LEVELS`, the mean over seeds; NaN where a seed does not reach the
        level, [l].
      curves: draws of it, [2, r, l].
      area: mean over seeds of the mean over `LEVELS`, a level that is not reached counting 0: an
        edit that does not succeed preserves nothing of what was asked.
      areas: draws of it, [2, r].
      highest_accuracy: mean over seeds, each at most `HIGHEST`.
      highest_accuracies: draws of it, [2, r].
    """

    num_faces: int
    num_seeds: int
    curve: Float[np.ndarray, " l"]
    curves: Float[np.ndarray, "2 r l"]
    area: float
    areas: Float[np.ndarray, "2 r"]
    highest_accuracy: float
    highest_accuracies: Float[np.ndarray, "2 r"]

    @property
    def degrees(self) -> int:
        """Of freedom, of an estimate about this method alone."""
        return self.num_seeds - 1


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval.

    Attributes:
      value: what was found.
      low, high: ends of the interval, see `interval`.
      spread: the standard deviation of its draws.
      share: of the variance that is due to trainings.
      degrees: of freedom, of what is known about the spread among trainings; 0 with a single
        training, where interval and spread are over faces alone.
    """

    value: float
    low: float
    high: float
    spread: float = 0.0
    share: float = 0.0
    degrees: float = 0

    @property
    def p_value(self) -> float:
        """Of the hypothesis that the value is 0, two-sided, see `few_trainings`; 1 with a single training, which
        tells nothing of how another would differ, and where all draws are one: of so few faces that none was ever
        left out.
        """
        if self.degrees == 0 or self.value == 0 or self.spread < _ROUNDING:
            return 1.0
        return few_trainings.p_value(self.value / self.spread, self.share, self.degrees)


def area(outcome: EditOutcomes, measure: str) -> float | None:
    """The mean preservation over `LEVELS`, a level that is not reached counting 0; None if the measure
    means nothing here (no other attributes).

    Args:
      outcome: of one request and one training.
      measure: "identity" or "attributes".
    """
    kept = getattr(outcome, measure)
    if not np.isfinite(kept).all():
        return None
    curve = preservation_at(outcome.success.mean(0), kept.mean(0), LEVELS)
    return float(np.nan_to_num(curve).mean())


def resample(
    seeds: Sequence[EditOutcomes], measure: str, *, num_resamples: int, stream: int = 0
) -> Resampled | None:
    """Resample faces and seeds; None if the measure means nothing here (no other attributes).

    Args:
      seeds: the outcomes of one request, one for each training seed, on the same faces.
      measure: "identity" or "attributes".
      num_resamples: of the bootstrap.
      stream: which random seeds are taken; another for each method, whose seeds have nothing to do with
        the others'.

    Raises:
      ValueError: if the seeds counted different faces.
    """
    first = seeds[0]
    counts = [outcome.num_faces for outcome in seeds]
    if len(set(counts)) != 1 or not all(
        np.array_equal(outcome.is_counted, first.is_counted) for outcome in seeds
    ):
        raise ValueError(f"the seeds must be measured on the same faces, got {counts}")
    preservations = [getattr(outcome, measure) for outcome in seeds]
    if not all(np.isfinite(x).all() for x in preservations):
        return None
    weights = outcome_weights(first, num_resamples)  # the same for all methods
    plain, resampled, highest = [], [], []
    for outcome, kept in zip(seeds, preservations, strict=True):
        plain.append(preservation_at(outcome.success.mean(0), kept.mean(0), LEVELS))
        accuracies, means = weights @ outcome.success, weights @ kept
        highest.append(np.minimum(accuracies.max(1), HIGHEST))
        resampled.append(
            [preservation_at(a, p, LEVELS) for a, p in zip(accuracies, means, strict=True)]
        )
    curve, per_seed = np.mean(plain, axis=0), np.asarray(resampled)  # [l], [seeds, r, l]
    return Resampled(
        first.num_faces,
        len(seeds),
        curve,
        over_seeds(per_seed, stream),
        float(np.nan_to_num(plain).mean()),
        over_seeds(np.nan_to_num(per_seed).mean(2), stream),
        float(np.mean([min(outcome.success.mean(0).max(), HIGHEST) for outcome in seeds])),
        over_seeds(np.asarray(highest), stream),
    )


def interval(
    value: Float[np.ndarray, "*s"], draws: Float[np.ndarray, "2 r *s"], degrees: float
) -> tuple[Float[np.ndarray, "*s"], Float[np.ndarray, "*s"]]:
    """Ends of the 95% interval: the percentiles of the draws, farther from the value by what `few_trainings` says.

    Three trainings give a poor idea of how far trainings differ, and percentiles take it for exact.

    Args:
      value: what was found.
      draws: of it, NaN where a resample has no value.
      degrees: of freedom; 0 with a single training, whose interval is over faces alone and is not
        widened.
    """
    wider = few_trainings.widening(share_of_trainings(draws), degrees) if degrees else 1.0
    low, high = np.nanquantile(draws[0], (0.025, 0.975), axis=0)
    return value + wider * (low - value), value + wider * (high - value)


def share_of_trainings(draws: Float[np.ndarray, "2 r *s"]) -> Float[np.ndarray, "*s"]:
    """The share of the variance that is due to trainings, in [0, 1]; 0 where nothing varies."""
    both = np.nanvar(draws[0], axis=0)
    return variance_of_trainings(draws) / np.where(both > 0, both, np.inf)


def variance_of_trainings(draws: Float[np.ndarray, "2 r *s"]) -> Float[np.ndarray, "*s"]:
    """What trainings add to the variance that faces make, at least 0."""
    both, of_faces = np.nanvar(draws, axis=1)
    return np.maximum(both - of_faces, 0.0)


def estimate(
    value: float,
    draws: Float[np.ndarray, "2 r"],
    degrees: float,
    *,
    ends: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """The value with its interval, not beyond the `ends` of what can be; arguments as of `interval`."""
    low, high = np.clip(interval(np.asarray(value), draws, degrees), *ends)
    spread, share = float(np.nanstd(draws[0])), float(share_of_trainings(draws))
    return Estimate(float(value), float(low), float(high), spread, share, degrees)


def common_level(found: Sequence[Resampled]) -> float:
    """The highest of `LEVELS` that every one of these reaches, in all seeds and in `SUPPORT` of the resamples; 0
    at least.
    """
    is_reached = np.all(
        [np.isfinite(x.curve) & (np.isfinite(x.curves[0]).mean(0) >= SUPPORT) for x in found],
        axis=0,
    )
    return float(LEVELS[is_reached][-1])


def at_level(found: Resampled, level: float) -> tuple[float, Float[np.ndarray, "2 r"]]:
    """What is preserved where the accuracy reaches one of `LEVELS`, and its draws."""
    column = int(np.argmin(np.abs(LEVELS - level)))
    return float(found.curve[column]), found.curves[..., column]


def filled(draws: Float[np.ndarray, "2 r *rest"]) -> Float[np.ndarray, "2 r *rest"]:
    """The resamples of one edit; where one has no value (NaN: a level that it does not reach), the mean of
    the others stands in.

    For means over several edits. Left out, it would move the mean to the other edits' height, and were the
    whole resample left out, few would remain of many edits.
    """
    return np.where(np.isnan(draws), np.nanmean(draws, axis=1, keepdims=True), draws)


def mean_draws(draws: Sequence[Float[np.ndarray, "2 r"]]) -> Float[np.ndarray, "2 r"]:
    """Mean over several edits in each resample, each edit's `filled`."""
    return np.mean([filled(x) for x in draws], axis=0)


def over_seeds(
    per_seed: Float[np.ndarray, "s r *rest"], stream: int
) -> Float[np.ndarray, "2 r *rest"]:
    """Draws of means over as many seeds as there are, drawn with replacement for each resample, and over all seeds.

    Seeds drawn from n differ by sqrt((n - 1) / n) of what trainings differ by, like every standard deviation
    that is divided by n. What the drawn ones differ by from all is stretched accordingly.

    Args:
      per_seed: of each seed in each resample of the faces.
      stream: another for each method.
    """
    num_seeds, num_resamples = per_seed.shape[:2]
    chosen = seeds_of_resamples(num_seeds, num_resamples, stream)
    drawn = per_seed[chosen, np.arange(num_resamples)[:, None]].mean(1)
    every = per_seed.mean(0)
    return np.stack([every + np.sqrt(num_seeds / max(num_seeds - 1, 1)) * (drawn - every), every])


def seeds_of_resamples(num_seeds: int, num_resamples: int, stream: int) -> Int[np.ndarray, "r s"]:
    """Which seeds each resample takes, with replacement; another `stream` for each method."""
    random = np.random.default_rng([1, stream])
    return random.integers(0, num_seeds, (num_resamples, num_seeds))


def holm(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which of several hypotheses are rejected while all of them together err with a probability of at
    most `level` (Holm 1979). A hypothesis without a p-value (NaN) counts, and is never rejected.
    """
    known = np.where(np.isnan(p_values), 1.0, p_values)
    rejected = [False] * len(known)
    for rank, index in enumerate(np.argsort(known, kind="stable")):
        if known[index] > level / (len(known) - rank):
            break
        rejected[index] = True
    return rejected


def known_alike(
    outcomes: Mapping[str, Sequence[Mapping[str, EditOutcomes]]],
) -> Mapping[str, Sequence[Mapping[str, EditOutcomes]]]:
    """The same outcomes; where one of them does not say which faces it counts, none does, so that all
    methods have the same resamples.
    """
    every = [x for seeds in outcomes.values() for seed in seeds for x in seed.values()]
    if all(x.is_counted is not None for x in every):
        return outcomes
    return {
        method: [
            {name: dataclasses.replace(x, is_counted=None) for name, x in seed.items()}
            for seed in seeds
        ]
        for method, seeds in outcomes.items()
    }


def resample_all(
    outcomes: Mapping[str, Sequence[Mapping[str, EditOutcomes]]], *, num_resamples: int
) -> dict[tuple[str, str, str], Resampled]:
    """`resample` for every method, request and measure.

    Args:
      outcomes: method -> for each seed: request -> outcome.
      num_resamples: of the bootstrap.

    Returns:
      (method, request, measure) -> the resamples; measures that mean nothing are left out.
    """
    outcomes = known_alike(outcomes)
    found = {}
    for stream, (method, seeds) in enumerate(outcomes.items()):
        for request in seeds[0]:
            for measure in MEASURES:
                found_here = resample(
                    [seed[request] for seed in seeds],
                    measure,
                    num_resamples=num_resamples,
                    stream=stream,
                )
                if found_here is not None:
                    found[method, request, measure] = found_here
    return found
