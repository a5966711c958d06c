"""A visitor's file as the face that the networks want."""

import os
import pathlib

import numpy as np
from jaxtyping import UInt8

from sdflow_jax.images.reading import ImageFileError, center_crop, read_image, resize_square

_SMALLEST_SIDE = 32
_LARGEST_SIDE = 1024  # as large as the largest generator's pictures


class PhotoError(ValueError):
    """A file cannot be used; the message says so to the one who chose it."""


def prepare_photo(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "r r 3"]:
    """The square of a picture file that is edited: its middle, upright, at most 1,024 pixels wide.

    It finds no face: the picture should show one as FFHQ's do, with the eyes a little above the
    middle. Finding and aligning faces belongs here.

    Raises:
      PhotoError: if the file is no picture, damaged or too small.
    """
    path = pathlib.Path(path)
    try:
        pixels = read_image(path)
    except ImageFileError as error:
        reason = str(error).removeprefix(f"{path}: ")  # the path is the server's own business
        raise PhotoError(
            f"This file cannot be opened as a picture ({reason}). PNG, JPEG and WebP files can."
        ) from error
    height, width = pixels.shape[:2]
    if min(height, width) < _SMALLEST_SIDE:
        raise PhotoError(
            f"This picture has {width} x {height} pixels; a face needs at least {_SMALLEST_SIDE}"
            f" x {_SMALLEST_SIDE}."
        )
    pixels = center_crop(pixels)
    return resize_square(pixels, min(len(pixels), _LARGEST_SIDE))
