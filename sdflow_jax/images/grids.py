"""Images side by side in one picture."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

_MARGIN = 4  # pixels between images
_FONT_SIZE = 14


def labeled_rows(
    labels: Sequence[str],
    images: UInt8[np.ndarray, "v b r r 3"],
    *,
    headings: Sequence[str] = (),
    smallest_side: int = 96,
) -> UInt8[np.ndarray, "h w 3"]:
    """Lay rows of images out on white, each with its label on the left.

    Args:
      labels: one per row.
      images: the rows.
      headings: one per column, above it; none for no line of them.
      smallest_side: smaller images are enlarged by whole factors to at least this many pixels.
    """
    factor = max(1, -(-smallest_side // images.shape[2]))
    images = images.repeat(factor, axis=2).repeat(factor, axis=3)
    num_rows, num_columns, side = images.shape[:3]
    font = ImageFont.load_default(_FONT_SIZE)
    left = _MARGIN + max(round(font.getlength(label)) for label in labels) + _MARGIN
    step = side + _MARGIN
    above = _MARGIN + (_MARGIN + _FONT_SIZE if headings else 0)
    canvas = Image.new("RGB", (left + num_columns * step, above + num_rows * step), "white")
    pen = ImageDraw.Draw(canvas)
    for column, heading in zip(range(num_columns), headings, strict=bool(headings)):
        middle = (left + column * step + side // 2, above // 2)
        pen.text(middle, heading, fill="black", font=font, anchor="mm")
    for row, (label, row_images) in enumerate(zip(labels, images, strict=True)):
        top = above + row * step
        pen.text((_MARGIN, top + side // 2), label, fill="black", font=font, anchor="lm")
        for column, image in enumerate(row_images):
            canvas.paste(Image.fromarray(image), (left + column * step, top))
    return np.asarray(canvas)
