"""The training split as two arrays: what the baselines need of the faces, which no network sees."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sdflow_jax.data import face_latents
from sdflow_jax.files.bars import Bar


class TrainingLatents(NamedTuple):
    """The training split's latents and the frozen classifier's opinion of the faces.

    Attributes:
      w_plus: [f, n, d].
      predictions: probabilities of all the classifier's attributes, [f, p].
      attributes: their names.
    """

    w_plus: Float[np.ndarray, "f n d"]
    predictions: Float[np.ndarray, "f p"]
    attributes: tuple[str, ...]


def read_training_latents(dataset: pathlib.Path) -> TrainingLatents:
    """Read the training split of a prepared data set, but for its pictures."""
    columns = _read_columns(dataset, ("w_plus", "predictions"))
    return TrainingLatents(
        columns["w_plus"],
        columns["predictions"],
        tuple(face_latents.read_recipe(dataset)["attributes"]),
    )


def read_training_predictions(dataset: pathlib.Path) -> Float[np.ndarray, "f p"]:
    """The predictions of the training split alone: of FFHQ 11 MB, beside 2.5 GB of latents."""
    return _read_columns(dataset, ("predictions",))["predictions"]


def _read_columns(dataset: pathlib.Path, fields: Sequence[str]) -> dict[str, np.ndarray]:
    """Some fields of all training faces, each written into its array as it is read."""
    faces = face_latents.open_split(dataset, "train", fields)
    columns: dict[str, np.ndarray] = {}
    for place in Bar(range(len(faces)), desc="reading latents", unit="face"):
        face = faces[place]
        for name in fields:
            if not place:
                columns[name] = np.empty((len(faces), *face[name].shape), face[name].dtype)
            columns[name][place] = face[name]
    return columns


def correlations(predictions: Float[np.ndarray, "f p"]) -> Float[np.ndarray, "p p"]:
    """Absolute correlation of every two attributes; 0 for one that never varies."""
    centered = predictions.astype(np.float64) - predictions.mean(0)
    spread = np.sqrt((centered**2).sum(0))
    varies = spread > 1e-6  # the mean of equal numbers is not quite that number
    scaled = np.divide(centered, spread, out=np.zeros_like(centered), where=varies)
    return np.abs(scaled.T @ scaled)
