"""Where a face lies in a photo: the square that FFHQ's alignment cuts out.

Photo coordinates (x, y) are in pixels, with whole numbers at the pixels' centres, as landmark
detectors give them. Face coordinates (u, v) go from 0 to 1 along the square's upper and left edges.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

Point = tuple[float, float]

# Of the 68 landmarks of iBUG 300-W: the outline of each eye, and the outer corners of the mouth.
_LEFT_EYE, _RIGHT_EYE = slice(36, 42), slice(42, 48)
_MOUTH_LEFT, _MOUTH_RIGHT = 48, 54


class AlignError(ValueError):
    """Faces cannot be aligned as was asked; the message is one line."""


@dataclasses.dataclass(frozen=True)
class FacePoints:
    """What the alignment reads from a face; left and right are the viewer's.

    Attributes:
      left_eye: its middle (x, y), in photo coordinates; the others likewise.
      right_eye: its middle.
      mouth_left: the corner of the mouth.
      mouth_right: the other corner.
    """

    left_eye: Point
    right_eye: Point
    mouth_left: Point
    mouth_right: Point

    @classmethod
    def of_landmarks(cls, landmarks: Float[np.ndarray, "68 2"]) -> "FacePoints":
        """Of the 68 landmarks of iBUG 300-W, counted from 0, in photo coordinates."""
        landmarks = np.asarray(landmarks, np.float64)
        if landmarks.shape != (68, 2):
            raise ValueError(f"expected landmarks [68, 2], got shape {landmarks.shape}")
        return cls(
            _point(landmarks[_LEFT_EYE].mean(0)),
            _point(landmarks[_RIGHT_EYE].mean(0)),
            _point(landmarks[_MOUTH_LEFT]),
            _point(landmarks[_MOUTH_RIGHT]),
        )


@dataclasses.dataclass(frozen=True)
class FaceSquare:
    """A square in a photo, which may reach beyond it and is upright in the face's own eyes.

    Attributes:
      corner: the face's upper left (x, y), in photo coordinates.
      edge: from there to the upper right (dx, dy); the left edge is the same turned by 90 degrees.
    """

    corner: Point
    edge: Point

    @classmethod
    def of_points(cls, points: FacePoints) -> "FaceSquare":
        """The square of FFHQ, by appendix C of "Progressive Growing of GANs" (Karras et al. 2018).

        Its direction is the mean of the line between the eyes and of the normal to the line from
        eyes to mouth, so that a turned head does not lean; its side is 4 times the former's length
        or 3.6 times the latter's, whichever is more; its centre lies a tenth of the way from the
        eyes to the mouth.

        Raises:
          ValueError: if the points lie so that they have no direction.
        """
        left_eye, right_eye, mouth_left, mouth_right = map(np.asarray, dataclasses.astuple(points))
        eyes = (left_eye + right_eye) / 2
        between_eyes = right_eye - left_eye
        to_mouth = (mouth_left + mouth_right) / 2 - eyes
        # Down turned by a quarter is to the right, on a screen, whose y goes down.
        direction = between_eyes + np.array([to_mouth[1], -to_mouth[0]])
        length = float(np.hypot(*direction))
        if not length > 0:
            raise ValueError(f"these points have no direction: {points}")
        side = max(4.0 * np.hypot(*between_eyes), 3.6 * np.hypot(*to_mouth))
        right = direction / length * side
        down = np.array([-right[1], right[0]])
        center = eyes + 0.1 * to_mouth
        return cls(_point(center - (right + down) / 2), _point(right))

    @property
    def side(self) -> float:
        """Length of its sides in pixels of the photo."""
        return math.hypot(*self.edge)

    @property
    def center(self) -> Point:
        """Its middle, in photo coordinates."""
        return _point(self.to_photo(np.array([0.5, 0.5])))

    @property
    def corners(self) -> Float[np.ndarray, "4 2"]:
        """In photo coordinates: upper left, lower left, lower right, upper right."""
        return self.to_photo(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))

    def to_photo(self, face: Float[np.ndarray, "*b 2"]) -> Float[np.ndarray, "*b 2"]:
        """Face coordinates (u, v) as photo coordinates (x, y)."""
        dx, dy = self.edge
        return np.asarray(self.corner) + face @ np.array([[dx, dy], [-dy, dx]])

    def to_face(self, photo: Float[np.ndarray, "*b 2"]) -> Float[np.ndarray, "*b 2"]:
        """Photo coordinates (x, y) as face coordinates (u, v)."""
        dx, dy = self.edge
        return (photo - np.asarray(self.corner)) @ np.array([[dx, -dy], [dy, dx]]) / self.side**2

    def scaled(self, x: float, y: float) -> "FaceSquare":
        """The square in the same photo at `x` times its width and `y` times its height.

        The two may differ as far as a photo's sides are rounded to whole pixels; the square stays
        one.
        """
        # Pixels scale about the photo's corner, which is half a pixel before the first one's centre.
        left, top = ((self.corner[0] + 0.5) * x - 0.5, (self.corner[1] + 0.5) * y - 0.5)
        factor = math.sqrt(x * y)
        return FaceSquare((left, top), (self.edge[0] * factor, self.edge[1] * factor))

    def moved(self, dx: float, dy: float) -> "FaceSquare":
        """The square (dx, dy) pixels further right and down."""
        return FaceSquare((self.corner[0] + dx, self.corner[1] + dy), self.edge)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, for `from_json`."""
        return {"corner": list(self.corner), "edge": list(self.edge)}

    @classmethod
    def from_json(cls, values: Any) -> "FaceSquare":
        """Read what `to_json` has written.

        Raises:
          AlignError: if it is something else.
        """
        try:
            corner, edge = (_point(values[key]) for key in ("corner", "edge"))
        except (KeyError, TypeError, ValueError) as error:
            raise AlignError(f"expected the square of a face, got {values!r:.100}") from error
        if not all(map(math.isfinite, (*corner, *edge))) or not any(edge):
            raise AlignError(f"expected the square of a face, got {values!r:.100}")
        return cls(corner, edge)


def _point(values: Sequence[float] | np.ndarray) -> Point:
    x, y = values
    return float(x), float(y)
