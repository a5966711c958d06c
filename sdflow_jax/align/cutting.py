"""Cutting an aligned face out of a photo, as FFHQ's were."""

import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sdflow_jax.align.geometry import AlignError, FaceSquare
from sdflow_jax.align.padding import Padding, border_of, pad

FFHQ_SIZE = 1024

_OVERSAMPLING = 4  # FFHQ: 4096 pixels, reduced to 1024


def cut_face(
    photo: UInt8[np.ndarray, "h w 3"], square: FaceSquare, size: int = FFHQ_SIZE
) -> UInt8[np.ndarray, "s s 3"]:
    """The face in a square of a photo: turned upright and resampled, with what FFHQ shows beyond
    the photo's edges.

    The photo is first reduced (Lanczos) where it has more than twice the pixels along a side that
    the face is to have; the square is drawn bilinearly at four times the size and then reduced
    (Lanczos). A point at face coordinates (u, v) comes to lie at u, v times the size, counted from
    the picture's corner.

    Args:
      photo: 8-bit RGB.
      square: as by `FaceSquare.of_points`.
      size: side of the face in pixels.

    Raises:
      AlignError: if the square lies beside the photo.
    """
    image = Image.fromarray(photo)
    image, square = _reduced(image, square, size)
    image, square = _cropped(image, square)
    padding = Padding.of(*image.size, square)
    if any(padding):
        image = Image.fromarray(pad(np.asarray(image), padding, square))
        square = square.moved(padding.left, padding.top)
    drawn = size * _OVERSAMPLING
    # Pillow counts from the picture's corner, half a pixel before the first centre.
    corners = (square.corners + 0.5).ravel().tolist()
    image = image.transform(
        (drawn, drawn), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR
    )
    return np.array(image.resize((size, size), Image.Resampling.LANCZOS))


def _reduced(image: Image.Image, square: FaceSquare, size: int) -> tuple[Image.Image, FaceSquare]:
    factor = math.floor(square.side / size / 2)
    if factor < 2:
        return image, square
    width, height = (max(1, round(x / factor)) for x in image.size)
    square = square.scaled(width / image.width, height / image.height)
    return image.resize((width, height), Image.Resampling.LANCZOS), square


def _cropped(image: Image.Image, square: FaceSquare) -> tuple[Image.Image, FaceSquare]:
    """Only the part of the photo that is needed, and the square in it."""
    border = border_of(square)
    low = np.floor(square.corners.min(0)).astype(int) - border
    high = np.ceil(square.corners.max(0)).astype(int) + 1 + border
    left, top = (max(0, int(x)) for x in low)
    right, bottom = (min(end, int(x)) for end, x in zip(image.size, high, strict=True))
    if right <= left or bottom <= top:
        raise AlignError("a face was found beside the photo")
    return image.crop((left, top, right, bottom)), square.moved(-left, -top)
