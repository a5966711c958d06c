"""Preservation as a function of editing accuracy, with bootstrap bands over the faces."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float


@dataclasses.dataclass(frozen=True)
class EditOutcomes:
    """What the judges said about one request: faces in rows, strengths in columns.

    Attributes:
      strengths: rising, [s].
      success: 1 where every requested attribute was turned to its opposite, else 0, [f, s]; 0 where
        the judges find no face after the edit.
      identity: cosine of the identity embeddings of the edited and the reconstructed face, [f, s]; 0
        where no face is found.
      identity_original: the same against the original image, [f, s].
      attributes: share of the judge's other attributes whose decision stayed the same, [f, s]; 0 where
        no face is found.
      num_excluded: faces left out, because the two classifiers disagreed about them beforehand or the
        judges found no face.
      was_on: for an edit of one attribute, whether the face had it, [f]; None for several.
      readings: the judge's probabilities of all its attributes on the edited faces, [f, s, j], NaN
        where no face is found; None in results that are older than this.
      readings_before: the same of the reconstructions, [f, j].
      is_counted: which of all observed faces the rows are, [all faces]; None in results that are
        older than this.
    """

    strengths: np.ndarray
    success: np.ndarray
    identity: np.ndarray
    identity_original: np.ndarray
    attributes: np.ndarray
    num_excluded: int
    was_on: np.ndarray | None = None
    readings: np.ndarray | None = None
    readings_before: np.ndarray | None = None
    is_counted: np.ndarray | None = None

    @property
    def num_faces(self) -> int:
        return len(self.success)

    def of_faces(self, is_chosen: Bool[np.ndarray, " f"]) -> "EditOutcomes":
        """The outcomes of some of the faces."""
        fields = ("success", "identity", "identity_original", "attributes", "was_on")
        fields += ("readings", "readings_before")
        arrays = {name: getattr(self, name) for name in fields}
        chosen = {name: x[is_chosen] for name, x in arrays.items() if x is not None}
        if self.is_counted is not None:  # which of all faces the rows are
            chosen["is_counted"] = np.array(self.is_counted, bool)
            chosen["is_counted"][self.is_counted] = is_chosen
        return dataclasses.replace(self, **chosen)


def preservation_at(
    accuracy: Float[np.ndarray, " s"],
    preservation: Float[np.ndarray, " s"],
    levels: Float[np.ndarray, " l"],
) -> Float[np.ndarray, " l"]:
    """Preservation where the accuracy first reaches each level, by linear interpolation.

    The points are taken in the order of rising strength, and the accuracy may fall again: what
    counts is the weakest edit that is accurate enough. A level below the first point's accuracy
    takes the first point.

    Returns:
      [l]; NaN for levels that the curve never reaches.
    """
    return value_at(accuracy, preservation, levels)


def value_at(
    accuracy: Float[np.ndarray, " s"],
    values: Float[np.ndarray, "s *rest"],
    levels: Float[np.ndarray, " l"],
) -> Float[np.ndarray, "l *rest"]:
    """The same of any values that stand beside the accuracies."""
    highest = np.maximum.accumulate(accuracy)
    # First index whose running maximum reaches the level: there the accuracy itself reaches it.
    after = np.searchsorted(highest, levels, side="left")
    reached = after < len(accuracy)
    after = np.minimum(after, len(accuracy) - 1)
    before = np.maximum(after - 1, 0)
    rise = accuracy[after] - accuracy[before]
    share = np.where(rise > 0, (levels - accuracy[before]) / np.where(rise > 0, rise, 1.0), 1.0)
    share = np.where(reached, share, np.nan).reshape(-1, *[1] * (values.ndim - 1))
    return values[before] + share * (values[after] - values[before])


@dataclasses.dataclass(frozen=True)
class Band:
    """A curve over accuracy levels with its bootstrap interval; NaN where it is not reached.

    Attributes:
      levels: accuracies in [0, 1], [l].
      value, low, high: preservation, [l].
    """

    levels: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bootstrap_weights(num_faces: int, num_resamples: int, *, seed: int) -> np.ndarray:
    """How often each resample of the faces holds each face, divided by their number, [r, f]."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(num_faces, np.full(num_faces, 1 / num_faces), size=num_resamples)
    return counts / num_faces


def outcome_weights(
    outcome: EditOutcomes, num_resamples: int, *, seed: int = 0
) -> Float[np.ndarray, "r f"]:
    """`bootstrap_weights` of the faces that an outcome counts.

    A resample is of all observed faces, and of those that it holds each request takes what it counts: a
    face that one request has twice, another has twice as well. Results without `is_counted` do not
    say which faces they are, and are resampled by the number of rows: means over requests that leave
    out different faces then seem surer than they are.
    """
    if outcome.is_counted is None:
        return bootstrap_weights(outcome.num_faces, num_resamples, seed=seed)
    is_counted = np.asarray(outcome.is_counted, bool)
    weights = bootstrap_weights(len(is_counted), num_resamples, seed=seed)[:, is_counted]
    total = weights.sum(1, keepdims=True)
    # Where hardly a face is counted, a resample may hold none of them: it takes each once.
    return np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1.0 / outcome.num_faces)


def preservation_band(
    success: Float[np.ndarray, "f s"],
    preservation: Float[np.ndarray, "f s"],
    levels: Float[np.ndarray, " l"],
    *,
    num_resamples: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> Band:
    """Preservation at accuracy levels, with a percentile bootstrap interval over the faces.

    A resample takes faces with all their strengths, so the interval accounts for accuracy and
    preservation moving together. It says how much the curve owes to the choice of faces, and
    nothing about retraining. Where fewer than 90% of the resamples reach a level, the interval is
    NaN.
    """
    value = preservation_at(success.mean(0), preservation.mean(0), levels)
    weights = bootstrap_weights(len(success), num_resamples, seed=seed)
    accuracies, preservations = weights @ success, weights @ preservation  # [r, s]
    resampled = np.stack(
        [preservation_at(a, p, levels) for a, p in zip(accuracies, preservations, strict=True)]
    )
    is_supported = np.isfinite(resampled).mean(0) >= 0.9
    tails = (0.5 - confidence / 2, 0.5 + confidence / 2)
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    if is_supported.any():
        low[is_supported], high[is_supported] = np.nanquantile(
            resampled[:, is_supported], tails, axis=0
        )
    return Band(levels, value, low, high)
