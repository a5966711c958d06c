"""How many faces a second are read for training: pictures of 256 pixels with their latents of 18 x 512.

    python -m benchmarks.reading
    python -m benchmarks.reading --num-threads=8 --fields=w_plus,predictions

The faces are the pocket world's, enlarged, with noise until their PNG files are as large as FFHQ's
at that size would be. Besides what the clock says it prints the processor's time, which other work
on the machine changes less.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from sdflow_jax.data import face_latents
from sdflow_jax.data.image_source import SPLITS, FaceBatch
from sdflow_jax.data.pipeline import FIELDS, training_batches
from sdflow_jax.pocket.faces import pocket_faces

_SIZE = 256
# FFHQ's own thumbnails, 128 pixels, take 28 KB of 49: so does a face here with noise of this deviation.
_NOISE = 2.5
_NUM_FACES, _BATCH = 256, 16


class NoisyFaces:
    """Faces that come with their latents and predictions, so that no network has to see them."""

    image_size, latent_shape, attributes = _SIZE, (18, 512), ("Eyeglasses", "Male", "Young")

    def __init__(self):
        faces = pocket_faces(8).images
        resized = [Image.fromarray(face).resize((_SIZE, _SIZE)) for face in faces]
        self._faces = np.stack([np.asarray(face, np.float32) for face in resized])
        self._random = np.random.default_rng(0)

    def num_faces(self, split: str) -> int:
        """All are for training."""
        return _NUM_FACES if split == SPLITS[0] else 0

    def split(self, split: str) -> Iterator[FaceBatch]:
        """The faces in batches, each of which has other noise."""
        for first in range(0, self.num_faces(split), len(self._faces)):
            noise = self._random.normal(0, _NOISE, self._faces.shape)
            faces = np.rint(self._faces + noise).clip(0, 255).astype(np.uint8)
            yield np.arange(first, first + len(faces)), faces

    def latents(self, ids: np.ndarray) -> np.ndarray:
        """Noise, [b, n, d]."""
        return self._random.standard_normal((len(ids), *self.latent_shape), np.float32)

    def predictions(self, ids: np.ndarray) -> np.ndarray:
        """Noise, [b, a]."""
        return self._random.random((len(ids), len(self.attributes)), np.float32)


def measure(num_faces: int, num_threads: int, fields: Sequence[str]) -> tuple[float, float, float]:
    """Seconds of the clock and of the processor that a face takes, and the KB that it takes on the disk."""
    with tempfile.TemporaryDirectory() as directory:
        dataset = face_latents.prepare(
            directory, NoisyFaces(), description={}, inversion_encoder=None, classifier=""
        )
        stored = sum(file.stat().st_size for file in dataset.glob("*array_record*"))
        batches = training_batches(
            face_latents.open_split(dataset, SPLITS[0], fields),
            range(len(NoisyFaces.attributes)),
            batch_size=_BATCH,
            seed=0,
            num_threads=num_threads,
            prefetch=4,
        )
        next(batches)
        clock, processor = time.perf_counter(), time.process_time()
        for _ in range(num_faces // _BATCH):
            next(batches)
        seconds = time.perf_counter() - clock, time.process_time() - processor
    return seconds[0] / num_faces, seconds[1] / num_faces, stored / _NUM_FACES / 1e3


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reading",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--num-faces", type=int, default=2048, help="that are timed (2048)")
    parser.add_argument("--num-threads", type=int, default=2, help="config.data.num_threads (2)")
    parser.add_argument("--fields", default=",".join(FIELDS), help="of a face (%(default)s)")
    chosen = parser.parse_args()
    clock, processor, size = measure(chosen.num_faces, chosen.num_threads, chosen.fields.split(","))
    cores = len(os.sched_getaffinity(0))
    print(
        f"{chosen.fields}: {1 / clock:.0f} faces a second by the clock on {cores} cores,"
        f" {1e3 * processor:.2f} ms of a core for each ({1 / processor:.0f} a second and core);"
        f" {size:.0f} KB each on the disk"
    )


if __name__ == "__main__":
    main()
