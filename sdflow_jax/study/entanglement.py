"""How far other attributes move when one is edited, beside how far they go along with it in the data."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from sdflow_jax.evaluation.curves import EditOutcomes, outcome_weights, value_at
from sdflow_jax.study.areas import (
    LEVELS,
    SUPPORT,
    Estimate,
    estimate,
    filled,
    known_alike,
    over_seeds,
)

HIGHEST_LEVEL = 0.9


@dataclasses.dataclass(frozen=True)
class Entanglement:
    """What one method's single edits do to the judge's readings, at equal editing accuracy.

    Attributes:
      edited: names of the edited attributes, e.
      judged: names of the judge's attributes, j.
      levels: the editing accuracy at which each edit is looked at, [e].
      moves: mean change of the judge's probability in the direction of the edit: positive where it
        comes with the edited attribute, negative where it goes, [e, j].
      drag: mean size of the change of a probability that nobody asked to change.
      following: slope of these changes' means, without intercept, on what the data would let come along:
        the edited attribute's own mean change times `slopes_of`. 1 for an edit after which the others
        are as the data has them given the edited attribute, 0 for moves that have nothing to do with
        the data's.
    """

    edited: tuple[str, ...]
    judged: tuple[str, ...]
    levels: Float[np.ndarray, " e"]
    moves: Float[np.ndarray, "e j"]
    drag: Estimate
    following: Estimate


def correlations_of(
    readings: Float[np.ndarray, "f j"], judged: Sequence[str], edited: Sequence[str]
) -> Float[np.ndarray, "e j"]:
    """Correlation of the judge's probabilities of the unedited faces; 0 with one that never varies."""
    centered = readings.astype(np.float64) - readings.mean(0)
    lengths = np.linalg.norm(centered, axis=0)
    unit = centered / np.where(lengths > 1e-6, lengths, np.inf)
    return (unit.T @ unit)[[list(judged).index(name) for name in edited]]


def slopes_of(
    readings: Float[np.ndarray, "f j"], judged: Sequence[str], edited: Sequence[str]
) -> Float[np.ndarray, "e j"]:
    """Slope of each of the judge's probabilities on an edited attribute's among the unedited faces,
    covariance over variance; 0 on one that never varies.

    A correlation is this times the ratio of the two deviations: an edit after which a rare attribute is
    just as the data has it moves that attribute by less than the correlation.
    """
    centered = readings.astype(np.float64) - readings.mean(0)
    covariance = centered.T @ centered / len(centered)
    variance = np.diag(covariance)
    slopes = covariance / np.where(variance > 1e-12, variance, np.inf)[:, None]
    return slopes[[list(judged).index(name) for name in edited]]


def entanglement(
    outcomes: Mapping[str, Sequence[Mapping[str, EditOutcomes]]],
    judged: Sequence[str],
    slopes: Float[np.ndarray, "e j"],
    *,
    num_resamples: int,
) -> dict[str, Entanglement]:
    """Measure every method's single edits at the highest accuracy that all of them reach, at most 90%.

    Args:
      outcomes: method -> for each seed: request -> outcome, all on the same faces.
      judged: names of the judge's attributes.
      slopes: `slopes_of` the unedited faces, the edited attributes in the order of the requests.
      num_resamples: of the bootstrap over faces and seeds.

    Returns:
      Method -> what was found; nothing if the outcomes hold no readings or no accuracy is reached by
      all.
    """
    outcomes = known_alike(outcomes)
    first = next(iter(outcomes.values()))[0]
    edited = tuple(name for name in first if name in judged)
    everything = [seed for seeds in outcomes.values() for seed in seeds]
    if (
        len(judged) < 2
        or not edited
        or any(s[x].readings is None for s in everything for x in edited)
    ):
        return {}
    levels = [_common_level([seed[name] for seed in everything], num_resamples) for name in edited]
    if None in levels:
        return {}
    columns = np.array([list(judged).index(name) for name in edited])
    is_other = np.ones((len(edited), len(judged)), bool)
    is_other[np.arange(len(edited)), columns] = False

    def summed_up(moves, sizes):  # [..., e, j] -> drag, following
        own = moves[..., np.arange(len(edited)), columns]
        expected = (own[..., None] * slopes)[..., is_other]
        squares = np.sum(expected**2, -1)
        along = np.sum(moves[..., is_other] * expected, -1)
        # Where nothing would come along, or the edit itself moves nothing, nothing follows.
        slope = np.where(squares > 0, along / np.where(squares > 0, squares, 1.0), 0.0)
        return sizes[..., is_other].mean(-1), slope

    found = {}
    for stream, (method, seeds) in enumerate(outcomes.items()):
        measured = [  # for each seed: plain and resampled, of moves and of their sizes
            _measure([seed[name] for name in edited], levels, num_resamples) for seed in seeds
        ]
        plain = [np.mean([seed[i] for seed in measured], axis=0) for i in (0, 1)]
        resampled = [
            filled(over_seeds(np.stack([seed[i] for seed in measured]), stream)) for i in (2, 3)
        ]
        drag, following = (
            estimate(value, draws, len(seeds) - 1)
            for value, draws in zip(summed_up(*plain), summed_up(*resampled), strict=True)
        )
        found[method] = Entanglement(
            edited, tuple(judged), np.array(levels), plain[0], drag, following
        )
    return found


def _common_level(outcomes: Sequence[EditOutcomes], num_resamples: int) -> float | None:
    """The highest of `LEVELS`, up to `HIGHEST_LEVEL`, that `SUPPORT` of the resamples of each reach."""
    reach = min(
        np.quantile((outcome_weights(x, num_resamples) @ x.success).max(1), 1 - SUPPORT)
        for x in outcomes
    )
    reached = LEVELS[(reach >= LEVELS) & (LEVELS <= HIGHEST_LEVEL + 1e-9)]
    return float(reached[-1]) if len(reached) and reached[-1] > 0 else None


def _measure(
    outcomes: Sequence[EditOutcomes], levels: Sequence[float], num_resamples: int
) -> tuple[np.ndarray, ...]:
    """Of one training: mean moves and mean sizes of moves, [e, j], and both resampled, [r, e, j]."""
    columns = []
    for outcome, level in zip(outcomes, levels, strict=True):
        direction = np.where(outcome.was_on, -1.0, 1.0)[:, None, None]
        change = direction * (outcome.readings - outcome.readings_before[:, None])  # [f, s, j]
        both = np.stack([change, np.abs(change)], axis=-1)
        weights = outcome_weights(outcome, num_resamples)
        means = np.tensordot(weights, both, 1)  # [r, s, j, 2]
        accuracies = weights @ outcome.success
        at = np.array([level])
        plain = value_at(outcome.success.mean(0), both.mean(0), at)[0]
        drawn = [value_at(a, m, at)[0] for a, m in zip(accuracies, means, strict=True)]
        columns.append((plain, np.stack(drawn)))
    plain = np.stack([x for x, _ in columns])  # [e, j, 2]
    drawn = np.stack([x for _, x in columns], axis=1)  # [r, e, j, 2]
    return plain[..., 0], plain[..., 1], drawn[..., 0], drawn[..., 1]
