"""Faces in whatever form people have them, as one batch."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from sdflow_jax.callers import warn_caller
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.images.reading import read_image, resize_square, rgb_pixels

_LIKELY_ABOVE = 0.1  # a face in [-1, 1] has darker pixels than 0; one in [0, 1] brighter ones

_PICTURES = (Image.Image, str, os.PathLike)
Picture = Image.Image | str | os.PathLike[str]
Images = Picture | np.ndarray | Sequence[Picture | np.ndarray]


class FaceInput(NamedTuple):
    """A batch of faces.

    Attributes:
      pixels: float32 in [-1, 1], [b, R, R, 3].
      is_single: whether one face was given by itself, and one is wanted back.
    """

    pixels: Float[np.ndarray, "b R R 3"]
    is_single: bool


def as_faces(images: Images, size: int) -> FaceInput:
    """Faces as float32 in [-1, 1].

    Args:
      images: a picture (a Pillow image, or the path of a file) or an array [R, R, 3]; or several of
        them, as a list or as an array [b, R, R, 3]. Arrays are 8-bit, or floats in [-1, 1].
      size: side in pixels to which pictures are brought; arrays keep their size.

    Raises:
      ValueError: if images are not square or not RGB, of another type or range, hold NaN, or are
        arrays of several sizes.
      ImageFileError: if a picture cannot be read.

    Warns:
      UserWarning: if floats look as if they were in [0, 1].
    """
    if isinstance(images, _PICTURES):
        return FaceInput(_signed(_square(images, size)[None]), True)
    if isinstance(images, Sequence):
        return FaceInput(_signed(_joined([_array(image, size) for image in images])), False)
    images = np.asarray(images)
    if images.ndim == 3:
        return FaceInput(_signed(images[None]), True)
    return FaceInput(_signed(images), False)


def _array(image: Picture | np.ndarray, size: int) -> np.ndarray:
    return _square(image, size) if isinstance(image, _PICTURES) else np.asarray(image)


def _joined(faces: Sequence[np.ndarray]) -> np.ndarray:
    """Faces [R, R, 3] as one batch; if some are 8-bit and others floats, all as floats."""
    if not faces:
        raise ValueError("expected at least one image, got an empty list")
    shapes = sorted({face.shape for face in faces})
    if len(shapes) > 1:
        raise ValueError(f"the images of a list must be of one size, got shapes {shapes}")
    if len({face.dtype for face in faces}) > 1:
        faces = [np.asarray(to_signed(x)) if x.dtype == np.uint8 else x for x in faces]
    return np.stack(faces)


def _square(picture: Picture, size: int) -> np.ndarray:
    is_image = isinstance(picture, Image.Image)
    pixels = rgb_pixels(picture) if is_image else read_image(picture)
    height, width = pixels.shape[:2]
    if height != width:
        name = "" if is_image else f"{picture}: "
        raise ValueError(
            f"{name}expected a square picture of an aligned face, got {width} x {height} pixels"
        )
    return resize_square(pixels, size)


def _signed(images: np.ndarray) -> Float[np.ndarray, "b R R 3"]:
    """A batch as float32 in [-1, 1]; 8-bit ones are converted."""
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise ValueError(
            f"expected square RGB images [b, R, R, 3] or one [R, R, 3], got shape {images.shape}"
        )
    if images.dtype == np.uint8:
        return np.asarray(to_signed(images))
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(
            f"expected 8-bit images or floats in [-1, 1], got {images.dtype}; pass 8-bit pixels as"
            " uint8"
        )
    with np.errstate(over="ignore"):  # what is too large is infinite then, and refused
        images = images.astype(np.float32)
    is_finite = np.isfinite(images).all(axis=(1, 2, 3))
    if not is_finite.all():
        raise ValueError(f"face {np.argmin(is_finite)} has pixels that are NaN or infinite")
    lowest, highest = images.min(initial=0.0), images.max(initial=0.0)
    if max(-lowest, highest) > 1.001:
        raise ValueError(
            f"expected 8-bit images or floats in [-1, 1], got floats up to {images.max():g}; pass"
            " 8-bit pixels as uint8"
        )
    # Face by face: beside a face in [-1, 1] one in [0, 1] is no better.
    lowest = images.min((1, 2, 3), initial=np.inf)
    highest = images.max((1, 2, 3), initial=-np.inf)
    is_suspect = (lowest >= 0) & (highest > _LIKELY_ABOVE)
    if is_suspect.any():
        warn_caller(
            f"float images are taken to be in [-1, 1], and face {np.argmax(is_suspect)} is nowhere"
            " below 0; if it is in [0, 1], give 2 * face - 1, or 8-bit pixels"
        )
    return images
