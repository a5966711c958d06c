"""The faces of a photo, found, numbered and measured."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sdflow_jax.align.finders import FaceFinder
from sdflow_jax.align.geometry import AlignError, FaceSquare

# The least side of a square whose face a network could read.
SMALLEST_SIDE = 64


@dataclasses.dataclass(frozen=True)
class PhotoFace:
    """A face in a photo: all that is needed to cut it out and to put it back.

    Attributes:
      number: its place in the photo from left to right, from 1.
      square: what is cut out.
      photo_size: (width, height) of the upright photo in pixels.
      box: left, top, right, bottom, as found.
      score: how sure the finder was.
    """

    number: int
    square: FaceSquare
    photo_size: tuple[int, int]
    box: tuple[float, float, float, float]
    score: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `from_json`."""
        return {**dataclasses.asdict(self), "square": self.square.to_json()}

    @classmethod
    def from_json(cls, values: Any) -> "PhotoFace":
        """Read what `to_json` has written; what else stands there is left aside.

        Raises:
          AlignError: if it is something else.
        """
        try:
            return cls(
                number=int(values["number"]),
                square=FaceSquare.from_json(values["square"]),
                photo_size=(int(values["photo_size"][0]), int(values["photo_size"][1])),
                box=tuple(float(x) for x in values["box"]),
                score=float(values["score"]),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, AlignError):
                raise
            raise AlignError(f"expected the place of a face, got {values!r:.100}") from error


def find_faces(photo: UInt8[np.ndarray, "h w 3"], finder: FaceFinder) -> list[PhotoFace]:
    """The faces of an upright photo, from left to right; those that lie as no face can are left out.

    Args:
      photo: 8-bit RGB.
      finder: as by `load_finder`.
    """
    height, width = photo.shape[:2]
    squares = []
    for face in finder(photo):
        try:
            squares.append((FaceSquare.of_points(face.points), face))
        except ValueError:
            continue  # eyes and mouth in one point
    squares.sort(key=lambda pair: pair[0].center)
    return [
        PhotoFace(number, square, (width, height), tuple(map(float, face.box)), float(face.score))
        for number, (square, face) in enumerate(squares, 1)
    ]


def choose_faces(
    faces: Sequence[PhotoFace], number: int | None = None
) -> tuple[list[PhotoFace], list[PhotoFace]]:
    """Which of a photo's faces to edit, and which are too small for that.

    Args:
      faces: as by `find_faces`.
      number: of the only face that is wanted; None for all.

    Raises:
      AlignError: if there is none, none of this number, or none that is large enough.
    """
    if not faces:
        raise AlignError("no face was found; it has to look into the camera, not too small")
    if number is not None:
        wanted = [face for face in faces if face.number == number]
        if not wanted:
            raise AlignError(f"there is no face {number}; {len(faces)} found, from left to right")
        faces = wanted
    large = [face for face in faces if face.square.side >= SMALLEST_SIDE]
    small = [face for face in faces if face.square.side < SMALLEST_SIDE]
    if not large:
        sides = ", ".join(f"{face.square.side:.0f}" for face in small)
        raise AlignError(f"faces of {sides} pixels are too small; {SMALLEST_SIDE} are needed")
    return large, small
