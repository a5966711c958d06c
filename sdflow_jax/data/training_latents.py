"""The training split as two arrays: what the baselines need of the faces, which no network sees."""

import pathlib
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
    """Read the training split of a prepared data set."""
    faces = face_latents.open_split(dataset, "train")
    rows = [faces[i] for i in Bar(range(len(faces)), desc="reading latents", unit="face")]
    return TrainingLatents(
        np.stack([row["w_plus"] for row in rows]),
        np.stack([row["predictions"] for row in rows]),
        tuple(face_latents.read_recipe(dataset)["attributes"]),
    )


def correlations(predictions: Float[np.ndarray, "f p"]) -> Float[np.ndarray, "p p"]:
    """Absolute correlation of every two attributes; 0 for one that never varies."""
    centered = predictions.astype(np.float64) - predictions.mean(0)
    spread = np.sqrt((centered**2).sum(0))
    varies = spread > 1e-6  # the mean of equal numbers is not quite that number
    scaled = np.divide(centered, spread, out=np.zeros_like(centered), where=varies)
    return np.abs(scaled.T @ scaled)
