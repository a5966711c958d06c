"""Writing pictures."""

import os

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sdflow_jax.files.atomic import write_atomic


def write_png(
    path: str | os.PathLike[str],
    pixels: UInt8[np.ndarray, "h w 3"],
    *,
    profile: bytes | None = None,
) -> None:
    """Write 8-bit RGB as a PNG file, atomically.

    Args:
      path: the file; its directory is made if need be.
      pixels: 8-bit RGB.
      profile: an RGB color profile that says what the pixels look like; None for the usual, sRGB.

    Raises:
      OSError: naming the file and the cause, if the disk is full or may not be written.
    """
    image = Image.fromarray(pixels)
    write_atomic(path, lambda stream: image.save(stream, "PNG", icc_profile=profile))
