"""Labels from outside: age and gender networks, dlib's face embedding, and the annotated attributes.

The networks were trained by others on photographs and ship in the packages of the `pocket-build` extra.
"""

import csv
import pathlib

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sdflow_jax.evaluation.published_networks import AgeGender as AgeGender
from sdflow_jax.evaluation.published_networks import FaceEmbedding as FaceEmbedding

ANNOTATED = ("Eyeglasses", "Wearing_Hat", "Facial_Hair", "Mouth_Open")
ATTRIBUTES = (*ANNOTATED, "Male", "Young")


def read_annotations(
    file: pathlib.Path,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Seeds [k], labels [k, 4] in the order of `ANNOTATED` with NaN where missing, and the test mask [k]."""
    with file.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    seeds = np.array([int(row["seed_id"]) for row in rows])
    labels = np.array([[float(row[name]) for name in ANNOTATED] for row in rows], np.float32)
    return (
        seeds,
        np.where(labels < 0, np.nan, labels),
        np.array([row["split"] == "test" for row in rows]),
    )


def in_chunks(
    function, images: NDArray[np.uint8], *, desc: str, chunk: int = 64
) -> NDArray[np.float32]:
    """Apply a labelling function to all images, `chunk` at a time, with progress."""
    parts = [function(images[i : i + chunk]) for i in tqdm(range(0, len(images), chunk), desc=desc)]
    return np.concatenate(parts)
