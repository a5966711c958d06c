"""Writing pictures."""

import os

import numpy as np
from jaxtyping import UInt8
from PIL import Image, PngImagePlugin

from sdflow_jax.files.atomic import write_atomic

_COMMENT = "Comment"  # among the keywords that PNG defines


def write_png(
    path: str | os.PathLike[str],
    pixels: UInt8[np.ndarray, "h w 3"],
    *,
    profile: bytes | None = None,
    comment: str = "",
) -> None:
    """Write 8-bit RGB as a PNG file, atomically.

    Args:
      path: the file; its directory is made if need be.
      pixels: 8-bit RGB.
      profile: an RGB color profile that says what the pixels look like; None for the usual, sRGB.
      comment: ASCII text that goes with the picture, which `comment_of` reads.

    Raises:
      OSError: naming the file and the cause, if the disk is full or may not be written.
    """
    image = Image.fromarray(pixels)
    notes = PngImagePlugin.PngInfo()
    if comment:
        notes.add_text(_COMMENT, comment)
    write_atomic(path, lambda stream: image.save(stream, "PNG", icc_profile=profile, pnginfo=notes))


def comment_of(path: str | os.PathLike[str]) -> str:
    """The comment of a PNG file; "" if it has none, or is no such file."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return str(image.info.get(_COMMENT, ""))
    except Exception:  # Pillow's decoders raise whatever damaged bytes lead them to
        return ""
