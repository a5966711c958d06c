"""Photographs that stand in for those that cannot be here: faces of the pocket world in larger pictures,
as cameras and downloads bring them.
"""

import io
import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_ORIENTATION = 0x0112  # the EXIF tag
# What a viewer does for an orientation, undone: how the picture lies in the file.
_LAID = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

# Of the photos, as `python -m sdflow_jax.align` reports them.
TWO = "family/two.jpg"
WITHOUT = "street.jpg"
BROKEN = ("cut.jpg", "page.jpg")


def write_photos(path: pathlib.Path, faces: UInt8[np.ndarray, "n s s 3"]) -> list[str]:
    """Write a zip of JPEG photographs.

    The first two faces are in one photo, each other one has its own, turned by EXIF in all eight
    ways. Besides these there are a photo without a face, one that is cut short, a web page by the
    name of a photo, and a file that is none.

    Args:
      path: of the zip.
      faces: 8-bit, aligned, at least 3.

    Returns:
      The names that the aligned faces will have, in the order of the faces.
    """
    names = [f"{TWO}-{number}.png" for number in (1, 2)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(TWO, _jpeg(_photo(faces[:2])))
        for place, face in enumerate(faces[2:]):
            name = f"people/{place:03d}.JPG"
            content = _jpeg(_photo([face]), 1 + place % len(_LAID))
            archive.writestr(name, content)
            names.append(f"{name}-1.png")
        side = faces.shape[1]
        archive.writestr(WITHOUT, _jpeg(_background(side, 2 * side)))
        archive.writestr(BROKEN[0], content[: len(content) // 2])
        archive.writestr(BROKEN[1], b"<html>404</html>")
        archive.writestr("readme.txt", "no photo")
    return names


def _background(height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Colors that change slowly."""
    y, x = np.mgrid[0:height, 0:width] / height
    waves = [np.sin(3 * x), np.cos(4 * y), np.sin(2 * x + 3 * y)]
    return np.rint(np.stack(waves, -1) * 40 + 110).astype(np.uint8)


def _photo(faces: Sequence[UInt8[np.ndarray, "s s 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    """Faces beside each other, with a margin of a quarter of their side around each."""
    side = faces[0].shape[0]
    margin = side // 4
    photo = _background(side + 2 * margin, len(faces) * (side + margin) + margin)
    for place, face in enumerate(faces):
        left = margin + place * (side + margin)
        photo[margin : margin + side, left : left + side] = face
    return photo


def _jpeg(pixels: UInt8[np.ndarray, "h w 3"], orientation: int = 1) -> bytes:
    """A JPEG file that a viewer shows as these pixels."""
    image = Image.fromarray(pixels)
    if _LAID[orientation] is not None:
        image = image.transpose(_LAID[orientation])
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92, exif=exif)
    return buffer.getvalue()
