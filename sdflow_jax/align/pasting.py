"""Putting a face back into the photo that it was cut from."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from sdflow_jax.align.geometry import FaceSquare
from sdflow_jax.align.padding import blur_inside

FEATHER = 0.1

_BAND_PIXELS = 2**18  # in work at a time: each takes a hundred bytes and more on the way


def paste(
    photo: UInt8[np.ndarray, "h w 3"],
    face: UInt8[np.ndarray, "s s 3"],
    square: FaceSquare,
    *,
    others: Sequence[FaceSquare] = (),
    feather: float = FEATHER,
) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of a photo with a face in the square that it was cut from, of whatever size.

    Inside, the face stands as it is; towards the square's edges it gives way to the photo, and so
    it does beside an edge of the photo, where `cut_face` blurs. Outside the square the photo's
    pixels are the same.

    Neighbors' squares overlap. What is nearer to another face than to this one, by the measure of
    their sides, stays as it is, so faces can be pasted into one photo one after the other.

    Args:
      photo: as given to `cut_face`.
      face: the face, e.g. edited.
      square: as given to `cut_face`.
      others: the squares of the photo's other faces.
      feather: width of the seam as a share of the square's side, above 0 and at most 0.5.

    Raises:
      ValueError: for another feather.
    """
    if not 0.0 < feather <= 0.5:
        raise ValueError(f"feather must be above 0 and at most 0.5, got {feather}")
    height, width = photo.shape[:2]
    left, top = np.maximum(np.floor(square.corners.min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(square.corners.max(0)).astype(int) + 1, (width, height))
    pasted = photo.copy()
    if right <= left or bottom <= top:
        return pasted
    image = _reduced(face, square)
    rows = max(1, _BAND_PIXELS // int(right - left))
    for first in range(top, bottom, rows):
        last = min(first + rows, bottom)
        band = pasted[first:last, left:right]
        within = square.moved(-left, -first)
        around = [other.moved(-left, -first) for other in others]
        weight = _weight(within, around, right - left, last - first, feather)
        weight *= 1.0 - blur_inside(width, height, square, left, first, right, last)
        drawn = _drawn(image, within, right - left, last - first)
        mixed = band + (drawn.astype(np.float32) - band) * weight[:, :, None]
        band[:] = np.rint(mixed).astype(np.uint8)
    return pasted


def _weight(
    square: FaceSquare, others: Sequence[FaceSquare], width: int, height: int, feather: float
) -> Float[np.ndarray, "h w"]:
    """How much of a pixel is the face: 1 inside, falling smoothly to 0 at the square's edge and
    midway to other faces.
    """
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    pixels = np.stack([x, y], axis=-1)
    face = square.to_face(pixels)
    share = np.minimum(face, 1.0 - face).min(-1) / feather
    distance = np.hypot(*np.moveaxis(face - 0.5, -1, 0))
    for other in others:
        to_other = np.hypot(*np.moveaxis(other.to_face(pixels) - 0.5, -1, 0))
        share = np.minimum(share, (to_other - distance) / (2 * feather))
    share = np.clip(share, 0.0, 1.0).astype(np.float32)
    return share * share * (3.0 - 2.0 * share)


def _reduced(face: UInt8[np.ndarray, "s s 3"], square: FaceSquare) -> Image.Image:
    """The face, no larger than its place: sampling alone would leave out pixels of it."""
    image = Image.fromarray(face)
    side = min(image.width, max(1, round(square.side)))
    return image.resize((side, side), Image.Resampling.LANCZOS)


def _drawn(
    image: Image.Image, square: FaceSquare, width: int, height: int
) -> UInt8[np.ndarray, "h w 3"]:
    """The face as it lies in a photo of this size; black around it."""
    # From the pixels of the photo, counted from its corner, to those of the face.
    origin, right, down = (
        square.to_face(np.array(point)) * image.width
        for point in ((-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5))
    )
    matrix = np.stack([right - origin, down - origin, origin], axis=1)
    return np.asarray(
        image.transform(
            (int(width), int(height)),
            Image.Transform.AFFINE,
            matrix.ravel().tolist(),
            Image.Resampling.BICUBIC,
        )
    )
