"""Photos whose faces are marked by pixels of certain colors, and a finder of these."""

import time

import numpy as np

from sdflow_jax.align.finders import FoundFace
from sdflow_jax.align.geometry import FacePoints

_MOST_FACES = 3


def smooth_photo(height: int = 60, width: int = 80) -> np.ndarray:
    """Colors that change slowly."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 19.0), np.cos(y / 23.0), np.sin((x + y) / 29.0)]
    return np.rint(np.stack(waves, -1) * 60 + 110).astype(np.uint8)


def mark(photo: np.ndarray, face: int, points: list[tuple[int, int]]) -> np.ndarray:
    """A copy in which a face has its four points: eyes, then corners of the mouth, as (x, y)."""
    photo = photo.copy()
    for place, (x, y) in enumerate(points):
        photo[y, x] = _color(face, place)
    return photo


def upright(x: int, y: int, size: int = 5) -> list[tuple[int, int]]:
    """The points of an upright face; (x, y) is its left eye, and its square's side 4 times `size`."""
    return [(x, y), (x + size, y), (x, y + size), (x + size, y + size)]


def _color(face: int, place: int) -> tuple[int, int, int]:
    return 250, 10 + face, 240 + place


class MarkedFaces:
    """Finds the marks."""

    version = "marks"

    def __call__(self, photo):
        faces = []
        for face in range(_MOST_FACES):
            places = [np.argwhere((photo == _color(face, k)).all(-1)) for k in range(4)]
            if all(len(place) == 1 for place in places):
                points = [(float(x), float(y)) for ((y, x),) in places]
                box = (*np.min(points, 0), *np.max(points, 0))
                faces.append(FoundFace(FacePoints(*points), box, 1.0 + face))
        return faces[::-1]


class SlowMarkedFaces(MarkedFaces):
    """The same, with time to be killed in."""

    def __call__(self, photo):
        time.sleep(0.2)
        return super().__call__(photo)


class FailingFinder:
    """One that does not bear photos."""

    version = "none"

    def __call__(self, photo):
        raise RuntimeError("no photo pleases it")
