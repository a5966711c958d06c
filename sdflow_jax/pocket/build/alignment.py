"""Find the faces in the teacher's renders: HOG detector, five landmarks, similarity transform to a chip."""

import multiprocessing
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from sdflow_jax.pocket.teacher import RENDER_SIZE

# Mean positions of the five landmarks (corners of the eyes, base of the nose) in a tight face box,
# as in dlib's five-point model (image_transforms/interpolation.h).
LANDMARK_TEMPLATE = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
UPSAMPLING = 4  # the detector needs faces of about 80 pixels
MARGIN = 64
CHUNK = 1000


def chip_alignment(
    landmarks: NDArray[np.float64], size: int = 64, padding: float = 0.25
) -> NDArray[np.float32]:
    """Least-squares similarity transform from chip pixels to render pixels, as `teacher.align` takes it.

    Args:
      landmarks: [5, 2] (column, row) positions in the render.
      size: edge of the chip.
      padding: margin around the tight face box, as a share of the box.

    Returns:
      [4] numbers (a, b, x, y).
    """
    chip = (padding + LANDMARK_TEMPLATE) / (2 * padding + 1) * size
    u, v = chip.T
    one, zero = np.ones(5), np.zeros(5)
    system = np.concatenate([np.stack([u, -v, one, zero], 1), np.stack([v, u, zero, one], 1)])
    target = np.concatenate([landmarks[:, 0], landmarks[:, 1]])
    return np.linalg.lstsq(system, target, rcond=None)[0].astype(np.float32)


class Detector:
    """Landmarks of the best face in a 64-pixel render, or None; one instance per process."""

    def __init__(self, landmark_model: str):
        import dlib  # of the pocket-build extra

        self._detect = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(landmark_model)

    def __call__(self, render: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        edge = RENDER_SIZE * UPSAMPLING
        large = np.asarray(Image.fromarray(render).resize((edge, edge), Image.Resampling.BICUBIC))
        large = np.pad(large, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="reflect")
        boxes, scores, _ = self._detect.run(large, 0, 0.0)
        if not boxes:
            return None
        points = self._landmarks(large, boxes[int(np.argmax(scores))]).parts()
        positions = np.array([[p.x, p.y] for p in points], np.float64)
        return (positions - MARGIN + 0.5) / UPSAMPLING - 0.5


_detector: Detector | None = None


def _start_worker(landmark_model: str) -> None:
    global _detector
    _detector = Detector(landmark_model)


def _align_one(render: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    landmarks = _detector(render)
    return None if landmarks is None else chip_alignment(landmarks)


def seed_chunks(
    ranges: Sequence[tuple[int, int]], extra: Iterable[int] = ()
) -> dict[str, NDArray[np.int64]]:
    """Name half-open seed ranges in chunks of a thousand, and the `extra` seeds outside them as one chunk more."""
    chunks = {
        str(start): np.arange(start, min(start + CHUNK, high))
        for low, high in ranges
        for start in range(low, high, CHUNK)
    }
    outside = [
        seed for seed in sorted(extra) if not any(low <= seed < high for low, high in ranges)
    ]
    return {**chunks, "extra": np.array(outside)} if outside else chunks


def build_alignments(
    chunks: Mapping[str, NDArray[np.int64]],
    render: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    landmark_model: pathlib.Path,
    folder: pathlib.Path,
    *,
    num_processes: int = 2,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Detect and align the faces of all seeds, a file per chunk; finished files are kept.

    Args:
      chunks: seeds by chunk name.
      render: seeds to uint8 renders.
      landmark_model: the five-point shape predictor.
      folder: where `CHUNK.npz` files with `seeds` [k] and `alignments` [k, 4] go.
      num_processes: detector processes.

    Returns:
      Seeds with a face, ascending, and their alignments [n, 4].
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in chunks if not (folder / f"{name}.npz").exists()]
    if missing:
        context = multiprocessing.get_context("spawn")
        with context.Pool(num_processes, _start_worker, (str(landmark_model),)) as pool:
            for name in tqdm(missing, desc="face stream", unit="chunk"):
                seeds = chunks[name]
                found = pool.map(_align_one, list(render(seeds)), chunksize=50)
                kept = [i for i, alignment in enumerate(found) if alignment is not None]
                partial = folder / f"{name}.partial.npz"
                np.savez(partial, seeds=seeds[kept], alignments=np.stack([found[i] for i in kept]))
                partial.rename(folder / f"{name}.npz")
    parts = [np.load(folder / f"{name}.npz") for name in chunks]
    seeds = np.concatenate([part["seeds"] for part in parts])
    order = np.argsort(seeds)
    return seeds[order], np.concatenate([part["alignments"] for part in parts])[order]
