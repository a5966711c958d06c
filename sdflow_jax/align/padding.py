"""What FFHQ shows where a face reaches beyond its photo: the photo mirrored, blurred and fading.

The strip of the photo beside such an edge is blurred as well, more and more towards it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from sdflow_jax.align.geometry import FaceSquare

_BORDER = 0.1  # of the square's side: pixels beyond the square that the resampling may see
_STRIP = 0.3  # of the square's side: the least that is added on every side
_BLUR = 0.02  # of the square's side: standard deviation
_TOLERATED = 4  # pixels from the square to the photo's edge up to which something is added
_BLURRED_SHARE = 3.0  # blur begins a third of the added strip's width inside the photo


class Padding(NamedTuple):
    """Pixels to add on each side; nothing, or something everywhere."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def of(cls, width: int, height: int, square: FaceSquare) -> "Padding":
        """What a square needs of a photo of this size."""
        border = border_of(square)
        low, high = square.corners.min(0), square.corners.max(0)
        last = np.array([width - 1, height - 1])
        # Left, top, right, bottom; what lies beyond the photo is positive.
        beyond = np.concatenate([-low, high - last])
        if beyond.max() <= -_TOLERATED:
            return cls(0, 0, 0, 0)
        least = round(square.side * _STRIP)
        return cls(*(max(int(np.ceil(x)) + border, least) for x in beyond))


def border_of(square: FaceSquare) -> int:
    """Pixels around a square that belong to what is cut out."""
    return max(round(square.side * _BORDER), 3)


def pad(
    pixels: UInt8[np.ndarray, "h w 3"], padding: Padding, square: FaceSquare
) -> UInt8[np.ndarray, "p q 3"]:
    """Add pixels on the sides of a photo: its mirror image, blurred, that fades to its median color.

    Args:
      pixels: the photo.
      padding: how many.
      square: of the face, whose side says how much is blurred.
    """
    import scipy.ndimage  # here: it takes long, and few photos need it

    left, top, right, bottom = padding
    padded = np.pad(
        pixels.astype(np.float32), ((top, bottom), (left, right), (0, 0)), mode="reflect"
    )
    depth = _depth(padded.shape[1], padded.shape[0], padding)[:, :, None]
    spread = square.side * _BLUR
    blurred = scipy.ndimage.gaussian_filter(padded, (spread, spread, 0))
    padded += (blurred - padded) * _blur_of(depth)
    padded += (np.median(padded, axis=(0, 1)) - padded) * np.clip(depth, 0.0, 1.0)
    return np.rint(np.clip(padded, 0.0, 255.0)).astype(np.uint8)


def blur_inside(
    width: int, height: int, square: FaceSquare, left: int, top: int, right: int, bottom: int
) -> Float[np.ndarray, "h w"] | float:
    """How much of a photo's pixels is blur in the face that is cut out, in [0, 1].

    Args:
      width: of the photo.
      height: of the photo.
      square: of the face.
      left: first column of the region that is asked about.
      top: its first row.
      right: its last column + 1.
      bottom: its last row + 1.

    Returns:
      Of that region; 0 where nothing was added to the photo.
    """
    padding = Padding.of(width, height, square)
    if not any(padding):
        return 0.0
    whole_width = width + padding.left + padding.right
    whole_height = height + padding.top + padding.bottom
    columns = slice(padding.left + left, padding.left + right)
    rows = slice(padding.top + top, padding.top + bottom)
    return _blur_of(_depth(whole_width, whole_height, padding, columns, rows))


def _depth(
    width: int,
    height: int,
    padding: Padding,
    columns: slice = slice(None),
    rows: slice = slice(None),
) -> Float[np.ndarray, "h w"]:
    """How far a pixel of the padded photo lies in what was added: 1 at its outer edge, 0 at the
    photo's, and negative inside the photo.

    Of these columns and rows of it; no more is made, as a face may be a small part of its photo.
    """
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    across = 1.0 - np.minimum(x / padding.left, x[::-1] / padding.right)
    down = 1.0 - np.minimum(y / padding.top, y[::-1] / padding.bottom)
    return np.maximum(across[None, columns], down[rows, None])


def _blur_of(depth: np.ndarray) -> np.ndarray:
    return np.clip(depth * _BLURRED_SHARE + 1.0, 0.0, 1.0)
