"""Pictures as viewers show them: upright, 8-bit RGB, on white where they are transparent."""

import functools
import io
import os
import pathlib
import warnings
from collections.abc import Collection

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

# Whatever the name says. Not all that Pillow opens: it gives PostScript to Ghostscript to run, and the
# readers of rare formats are the least tried.
_FORMATS = (
    *("PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "GIF"),
    *("TIFF", "BMP", "DIB", "ICO", "TGA", "PPM"),
)

# Pillow opens 16-bit grey as "I;16" or, from some formats, as 32-bit integers of the same values.
_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N")
_FORMATS_OF_DEEP_GREY = ("PNG", "PPM")
_WHITE_16 = 65535

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # all that a still picture is made of
_PNG_ORIENTATION = b"eXIf"

# Up to twice Pillow's limit these are large cameras' photographs; beyond it Pillow refuses by itself.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, append=True)


class ImageFileError(ValueError):
    """A picture is missing, damaged, or of a kind whose pixels have no one meaning as colors."""


def read_image(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a picture file, as `rgb_pixels` gives them; of an animation its first frame.

    What a PNG says besides its pixels (color profile, texts, times) and Pillow cannot make sense of
    is no reason to refuse them.

    Returns:
      8-bit RGB, [h, w, 3].

    Raises:
      ImageFileError: naming the file, if it is missing, damaged, no picture, larger than Pillow
        holds for safe, or of a mode that `rgb_pixels` refuses.
    """
    path = pathlib.Path(path)
    try:
        return decode_image(path.read_bytes())
    except FileNotFoundError as error:
        raise ImageFileError(f"{path}: no such file") from error
    except ImageFileError as error:
        raise ImageFileError(f"{path}: {error}") from error
    except OSError as error:
        raise ImageFileError(f"{path}: not a readable image ({error.strerror or error})") from error


def decode_image(content: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a picture file's bytes, as `read_image` gives those of the file.

    Raises:
      ImageFileError: as `read_image`, without a name.
    """
    try:
        return _decoded(content)
    except Image.UnidentifiedImageError as error:
        raise ImageFileError("not a readable image (of no known format)") from error
    except ImageFileError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever damaged bytes lead them to
        raise ImageFileError(f"not a readable image ({error})") from error


def _decoded(content: bytes) -> UInt8[np.ndarray, "h w 3"]:
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            return rgb_pixels(image)
    except Image.DecompressionBombError:
        raise
    except Exception as error:
        if not content.startswith(_PNG_SIGNATURE):
            raise
        for chunks in ((*_PNG_PIXELS, _PNG_ORIENTATION), _PNG_PIXELS):
            try:
                with Image.open(
                    io.BytesIO(_with_only(chunks, content)), formats=_formats()
                ) as image:
                    return rgb_pixels(image)
            except Exception:
                continue  # what was wrong with the whole file is what is told
        raise error


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _with_only(chunks: Collection[bytes], png: bytes) -> bytes:
    kept, start = [_PNG_SIGNATURE], len(_PNG_SIGNATURE)
    while start < len(png):
        end = start + int.from_bytes(png[start : start + 4]) + 12  # length, name, checksum
        if png[start + 4 : start + 8] in chunks:
            kept.append(png[start:end])
        start = end
    return b"".join(kept)


def rgb_pixels(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """A Pillow image as viewers show it: turned as its EXIF orientation says, any mode as 8-bit
    RGB, transparent pixels on white whatever color hides in them.

    Sixteen-bit grey is scaled to 8 bits. Color profiles are not applied.

    Raises:
      ImageFileError: for modes whose white is not known: floats, integers beyond 16 bits.
    """
    file_format = image.format  # a copy has none
    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP_GREY or (image.mode == "I" and file_format in _FORMATS_OF_DEEP_GREY):
        return _from_deep_grey(image)
    if image.mode in ("F", "I"):
        raise ImageFileError(
            f"pixels of Pillow's mode {image.mode!r} have no known white; save them as 8-bit RGB"
        )
    if image.mode in ("La", "RGBa"):  # colors already multiplied by their opacity
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(canvas, image)
    return np.array(image.convert("RGB"))


def _from_deep_grey(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    values = np.asarray(image).astype(np.int64)
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):  # a grey that stands for transparency
        values = np.where(values == hidden, _WHITE_16, values)
    grey = np.rint(np.clip(values, 0, _WHITE_16) * (255 / _WHITE_16)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def center_crop(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "r r 3"]:
    """The largest square about the middle; an odd rest is cut below or on the right."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def resize_square(pixels: UInt8[np.ndarray, "r r 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    """A square picture at another size, bilinear and antialiased where it shrinks."""
    if pixels.shape[0] == size:
        return pixels
    return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
