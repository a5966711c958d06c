"""How much memory a picture may take to read, known from its header."""

from PIL import Image

MOST_BYTES = 2**30

# Measured (`tests/images/test_reading_memory.py`), for each pixel, by decoder and by format. Pillow
# itself holds 4, and the pixels that are read are 3 more; decoders hold coefficients, planes or
# whole strips beside them.
_BYTES_PER_PIXEL = {
    "libtiff": 16,
    "WEBP": 18,
    "AVIF": 24,
    "jpeg2k": 60,  # 30, but decoding more pixels takes more than seconds
}
_BYTES_PER_PIXEL_OF_OTHERS = 10  # what a progressive JPEG takes, and resizing what was read
_BYTES_PER_PIXEL_IN_PRINT_COLORS = 12  # the same with a fourth coefficient

_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323


def bytes_to_read(image: Image.Image) -> int:
    """What reading takes beside the file's content, of a picture that Pillow has opened."""
    names = [image.format, *(tile[0] for tile in getattr(image, "tile", ()))]
    each = max(_BYTES_PER_PIXEL.get(name, _BYTES_PER_PIXEL_OF_OTHERS) for name in names)
    if image.mode == "CMYK":
        each = max(each, _BYTES_PER_PIXEL_IN_PRINT_COLORS)
    return each * max(image.width * image.height, _tile_area(image))


def _tile_area(image: Image.Image) -> int:
    """Of a TIFF's tiles, which are decoded whole however small the picture is."""
    tags = getattr(image, "tag_v2", {})
    sides = (tags.get(_TIFF_TILE_WIDTH, 0), tags.get(_TIFF_TILE_LENGTH, 0))
    if not all(isinstance(side, int) for side in sides):
        return 0  # which libtiff refuses
    return sides[0] * sides[1]
