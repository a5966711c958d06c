"""Writing pictures."""

import os

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sdflow_jax.files.atomic import write_atomic


def write_png(path: str | os.PathLike[str], pixels: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write 8-bit RGB as a PNG file, atomically.

    Raises:
      OSError: naming the file and the cause, if the disk is full or may not be written.
    """
    write_atomic(path, lambda stream: Image.fromarray(pixels).save(stream, "PNG"))
