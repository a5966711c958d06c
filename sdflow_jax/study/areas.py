"""Areas under the curves of preservation against accuracy, over faces and training seeds."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr

from sdflow_jax.evaluation.curves import EditOutcomes, bootstrap_weights, preservation_at

MEASURES = ("identity", "attributes")
# A sweep stops once accuracy is 99%. Levels near that would be missed by half of the resamples of a method that
# got there, only because nothing stronger was measured.
LEVELS = np.linspace(0.0, 0.95, 96)


@dataclasses.dataclass(frozen=True)
class Resampled:
    """Curves of one method on one request, with bootstrap resamples.

    A resample takes as many faces as there are, with replacement, the same for every seed and for
    every method; and as many seeds as there are, with replacement, for each method on its own.

    Attributes:
      num_faces: how many faces count.
      curve: preservation at `LEVELS`, the mean over seeds; NaN where a seed does not reach the
        level, [l].
      curves: the same in each resample, [r, l].
      area: mean over seeds of the mean over `LEVELS`, a level that is not reached counting 0: an
        edit that does not succeed preserves nothing of what was asked.
      areas: the same in each resample, [r].
      highest_accuracy: mean over seeds.
      highest_accuracies: the same in each resample, [r].
    """

    num_faces: int
    curve: Float[np.ndarray, " l"]
    curves: Float[np.ndarray, "r l"]
    area: float
    areas: Float[np.ndarray, " r"]
    highest_accuracy: float
    highest_accuracies: Float[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value with its 95% percentile bootstrap interval, and the resamples' standard deviation."""

    value: float
    low: float
    high: float
    spread: float = 0.0

    @property
    def p_value(self) -> float:
        """Of the hypothesis that the value is 0, two-sided, by the normal approximation: far tails
        would ask for far more resamples.
        """
        if self.spread == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * ndtr(-abs(self.value) / self.spread))


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
      ValueError: if the seeds counted different numbers of faces.
    """
    counts = {outcome.num_faces for outcome in seeds}
    if len(counts) != 1:
        raise ValueError(f"the seeds must be measured on the same faces, got {sorted(counts)}")
    (num_faces,) = counts
    preservations = [getattr(outcome, measure) for outcome in seeds]
    if not all(np.isfinite(x).all() for x in preservations):
        return None
    weights = bootstrap_weights(num_faces, num_resamples, seed=0)  # the same for all methods
    plain, resampled, highest = [], [], []
    for outcome, kept in zip(seeds, preservations, strict=True):
        plain.append(preservation_at(outcome.success.mean(0), kept.mean(0), LEVELS))
        accuracies, means = weights @ outcome.success, weights @ kept
        highest.append(accuracies.max(1))
        resampled.append(
            [preservation_at(a, p, LEVELS) for a, p in zip(accuracies, means, strict=True)]
        )
    curve, per_seed = np.mean(plain, axis=0), np.asarray(resampled)  # [l], [seeds, r, l]
    chosen = seeds_of_resamples(len(seeds), num_resamples, stream)
    rows = np.arange(num_resamples)[:, None]
    curves = per_seed[chosen, rows]  # [r, seeds, l]
    return Resampled(
        num_faces,
        curve,
        curves.mean(1),
        float(np.nan_to_num(plain).mean()),
        np.nan_to_num(curves).mean((1, 2)),
        float(np.mean([outcome.success.mean(0).max() for outcome in seeds])),
        np.asarray(highest)[chosen, rows].mean(1),
    )


def estimate(value: float, resampled: Float[np.ndarray, " r"]) -> Estimate:
    """The value with the interval of its resamples."""
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    return Estimate(float(value), float(low), float(high), float(np.nanstd(resampled)))


def common_level(found: Sequence[Resampled]) -> float:
    """The highest of `LEVELS` that every one of these reaches, in all seeds and in nine of ten resamples; 0 at
    least.
    """
    is_reached = np.all(
        [np.isfinite(x.curve) & (np.isfinite(x.curves).mean(0) >= 0.9) for x in found], axis=0
    )
    return float(LEVELS[is_reached][-1])


def at_level(found: Resampled, level: float) -> tuple[float, Float[np.ndarray, " r"]]:
    """What is preserved where the accuracy reaches one of `LEVELS`, and the same in each resample."""
    column = int(np.argmin(np.abs(LEVELS - level)))
    return float(found.curve[column]), found.curves[:, column]


def seeds_of_resamples(num_seeds: int, num_resamples: int, stream: int) -> Int[np.ndarray, "r s"]:
    """Which seeds each resample takes, with replacement; another `stream` for each method."""
    random = np.random.default_rng([1, stream])
    return random.integers(0, num_seeds, (num_resamples, num_seeds))


def holm(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which of several hypotheses are rejected while all of them together err with a probability of at
    most `level` (Holm 1979).
    """
    rejected = [False] * len(p_values)
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] > level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


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
