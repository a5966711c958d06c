"""Pictures as viewers show them: upright, 8-bit RGB, on white where they are transparent."""

import functools
import io
import os
import pathlib
import warnings
from collections.abc import Collection

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from sdflow_jax.images.reading_memory import MOST_BYTES, bytes_to_read

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

# EXIF orientation -> the upright picture, seen as its pixels are stored; one that is not here is 1.
_AS_STORED = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
_LYING = (5, 6, 7, 8)

# Modes whose colors reach `rgb_pixels` as they are, and where a profile's header names its colors.
_RGB_MODES = ("RGB", "RGBA", "RGBX", "RGBa", "P")
_PROFILE_COLORS = slice(16, 20)

_BAND_PIXELS = 2**18

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # all that a still picture is made of
_PNG_ORIENTATION = b"eXIf"

# Large cameras' photographs; what is too large is refused here.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, append=True)


class ImageFileError(ValueError):
    """A picture is missing, damaged, or of a kind whose pixels have no one meaning as colors."""


class _TooLargeError(ImageFileError):
    """It would take more memory to read than is promised."""


def read_image(path: str | os.PathLike[str]) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a picture file, as `rgb_pixels` gives them; of an animation its first frame.

    What a PNG says besides its pixels (color profile, texts, times) and Pillow cannot make sense of
    is no reason to refuse them.

    Returns:
      8-bit RGB, [h, w, 3].

    Raises:
      ImageFileError: naming the file, if it is missing, damaged, no picture, of a mode that
        `rgb_pixels` refuses, or of more pixels than are read in 1 GB of memory (107 million; fewer
        where the format takes more, and at least 17 million).
    """
    path = pathlib.Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:  # before it is in memory
            raise ImageFileError(f"a picture of more than {MOST_BYTES >> 30} GB")
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
    is_png = content.startswith(_PNG_SIGNATURE)
    told = None
    for chunks in (None, (*_PNG_PIXELS, _PNG_ORIENTATION), _PNG_PIXELS) if is_png else (None,):
        try:
            return _read(content if chunks is None else _with_only(chunks, content))
        except (Image.DecompressionBombError, _TooLargeError):
            raise
        except Exception as error:
            # What was wrong with the whole file is what is told. Not the frames that it came
            # through: they hold the pixels.
            told = told or _without_frames(error)
    raise told


def _read(content: bytes) -> UInt8[np.ndarray, "h w 3"]:
    with Image.open(io.BytesIO(content), formats=_formats()) as image:
        _check_size(image, content)
        image.load()
        _check_size(image, content)  # an icon's is that of what is in it
        return rgb_pixels(image)


def _check_size(image: Image.Image, content: bytes) -> None:
    if bytes_to_read(image) + len(content) > MOST_BYTES:
        raise _TooLargeError(
            f"{image.width} x {image.height} pixels take more than {MOST_BYTES >> 30} GB to read"
            f" from {image.format}; save the picture smaller"
        )


def _without_frames(error: Exception) -> Exception:
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


@functools.cache
def openable_suffixes() -> frozenset[str]:
    """How the names of files end that can be read here, in lower case, with the dot.

    `SUFFIXES`, and what this Pillow was built with of the rarer ones (TIFF, AVIF, ...).
    """
    formats = _formats()
    return frozenset(SUFFIXES) | {
        suffix for suffix, name in Image.registered_extensions().items() if name in formats
    }


def rgb_profile(path: str | os.PathLike[str]) -> bytes | None:
    """The color profile that says what `read_image`'s pixels of a file look like.

    Profiles are not applied in reading, so that of an RGB picture is that of its pixels still.

    Returns:
      None if the file has none or cannot be read, or its colors are converted in reading, as those
      of grey pictures and print colors are, whose profiles do not speak of RGB.
    """
    try:
        with Image.open(path, formats=_formats()) as image:
            profile = image.info.get("icc_profile") if image.mode in _RGB_MODES else None
    except Exception:  # Pillow's decoders raise whatever damaged bytes lead them to
        return None
    if not isinstance(profile, bytes) or profile[_PROFILE_COLORS] != b"RGB ":
        return None
    return profile


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
    image.load()
    deep = image.mode in _DEEP_GREY or (image.mode == "I" and image.format in _FORMATS_OF_DEEP_GREY)
    if image.mode in ("F", "I") and not deep:
        raise ImageFileError(
            f"pixels of Pillow's mode {image.mode!r} have no known white; save them as 8-bit RGB"
        )
    convert = _from_deep_grey if deep else _from_colors
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    size = (image.width, image.height) if orientation in _LYING else (image.height, image.width)
    upright = np.empty((*size, 3), np.uint8)
    stored = _AS_STORED[orientation](upright) if orientation in _AS_STORED else upright
    # Some rows at a time: all that is needed on the way is as large as the picture or larger.
    rows = max(1, _BAND_PIXELS // max(1, image.width))
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        stored[top:bottom] = convert(image.crop((0, top, image.width, bottom)))
    return upright


def _from_colors(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    if image.mode in ("La", "RGBa"):  # colors already multiplied by their opacity
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(canvas, image)
    return np.asarray(image.convert("RGB"))


def _from_deep_grey(image: Image.Image) -> UInt8[np.ndarray, "h w 1"]:
    values = np.asarray(image).astype(np.int64)
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):  # a grey that stands for transparency
        values = np.where(values == hidden, _WHITE_16, values)
    grey = np.rint(np.clip(values, 0, _WHITE_16) * (255 / _WHITE_16)).astype(np.uint8)
    return grey[:, :, None]


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
