"""What is known of the build's faces: annotations by eye, published networks' readings, probes of w."""

import csv
import dataclasses
import pathlib

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from sdflow_jax.evaluation.external_judges import YOUNG_BELOW
from sdflow_jax.evaluation.published_readers import FaceReadings
from sdflow_jax.pocket.build.probes import fit_probe

ANNOTATIONS = pathlib.Path(__file__).parent / "annotations.csv"
ATTRIBUTES = ("Eyeglasses", "Smiling", "Facial_Hair", "Wearing_Hat", "Male", "Young")
ANNOTATED = ATTRIBUTES[:5]
_YOUNG_SOFTNESS = 3.0  # years, of the labels around it
_SURE = 0.95  # from here on the gender network's word counts as a label
_ADULT_AGE = 22.0  # by the age network, which makes some children older than they are
_CHILD_PROBABILITY = 0.35  # by the probe


@dataclasses.dataclass(frozen=True)
class Annotations:
    """Faces judged by eye.

    Attributes:
      seeds: [k].
      values: column -> [k], 0 or 1.
    """

    seeds: NDArray[np.int64]
    values: dict[str, NDArray[np.float32]]

    @classmethod
    def read(cls, file: pathlib.Path = ANNOTATIONS) -> "Annotations":
        """Read the table that `ANNOTATIONS.md` describes."""
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        columns = [name for name in rows[0] if name != "seed"]
        values = {
            name: np.array([float(row[name]) for row in rows], np.float32) for name in columns
        }
        return cls(np.array([int(row["seed"]) for row in rows]), values)

    def of(self, seeds: NDArray[np.int64], column: str) -> NDArray[np.float32]:
        """A column for any seeds, NaN where nobody has looked."""
        table = dict(zip(self.seeds.tolist(), self.values[column].tolist(), strict=True))
        return np.array([table.get(int(seed), np.nan) for seed in seeds], np.float32)


def label_faces(
    seeds: NDArray[np.int64], readings: FaceReadings, annotations: Annotations
) -> NDArray[np.float32]:
    """Labels [n, 6] in [0, 1], NaN where unknown, in the order of `ATTRIBUTES`."""
    labels = np.stack([annotations.of(seeds, name) for name in ANNOTATED], axis=1)
    sure = np.abs(readings.male - 0.5) > _SURE - 0.5
    told = np.where(sure, readings.male > 0.5, np.nan)
    male = ANNOTATED.index("Male")
    labels[:, male] = np.where(np.isnan(labels[:, male]), told, labels[:, male])
    young = expit((YOUNG_BELOW - readings.age) / _YOUNG_SOFTNESS)
    return np.concatenate([labels, young[:, None]], axis=1).astype(np.float32)


def guess_labels(
    w: NDArray[np.float32], labels: NDArray[np.float32], known: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Probabilities [n, a] by probes of w [n, 512], fitted to the labels of the rows `known`."""
    columns = []
    for column in labels.T:
        rows = known & ~np.isnan(column)
        columns.append(fit_probe(w[rows], column[rows])(w))
    return np.stack(columns, axis=1)


def soften_labels(labels: NDArray[np.float32], guesses: NDArray[np.float32]) -> NDArray[np.float32]:
    """Targets [n, a]: halfway between a label and the probe's guess, the guess where there is no label.

    A label is one look, by a person or a network, with the errors of one look; the probe has seen
    thousands and agrees better with looks that it has not seen.
    """
    return np.where(np.isnan(labels), guesses, 0.5 * (labels + guesses))


def adults(
    seeds: NDArray[np.int64],
    w: NDArray[np.float32],
    readings: FaceReadings,
    annotations: Annotations,
) -> NDArray[np.bool_]:
    """Which faces look grown up, with a margin, to the age network, a probe, and whoever looked."""
    child = annotations.of(seeds, "Child")
    trained = (seeds < 56_000) & ~np.isnan(child)
    probability = fit_probe(w[trained], child[trained])(w)
    reads_grown = (readings.age >= _ADULT_AGE) & (probability < _CHILD_PROBABILITY)
    return reads_grown & (child != 1.0)
