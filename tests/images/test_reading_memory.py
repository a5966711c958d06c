"""Pictures are read in as much memory as `reading_memory.py` says, measured in processes of their own."""

import io
import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from sdflow_jax.images import reading
from sdflow_jax.images.reading import ImageFileError, decode_image, read_image, rgb_pixels

SIDE = 1200
SLACK = 6 << 20

# The highest mark of a process is set back by this; what it had before is not counted.
MEASURE = """
import json, sys, warnings
from PIL import Image
from sdflow_jax.images import reading
from sdflow_jax.images.reading_memory import bytes_to_read

def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) * 1024

warnings.simplefilter("ignore")
reading.rgb_pixels(Image.new("RGBA", (4, 4)))
content = open(sys.argv[1], "rb").read()
with Image.open(sys.argv[1]) as image:
    promised = bytes_to_read(image)
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
try:
    told = str(reading.decode_image(content).shape)
except reading.ImageFileError as error:
    told = str(error)
print(json.dumps([told, memory("VmHWM") - before, promised]))
"""


def measured(path):
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout)


def picture(mode):
    noise = np.random.default_rng(0).integers(0, 256, (SIDE // 40, SIDE // 40, 4), np.uint8)
    image = Image.fromarray(noise).resize((SIDE, SIDE))
    if mode == "I;16":
        return Image.fromarray(np.array(image.convert("L")).astype(np.uint16) * 257)
    return image.quantize(64) if mode == "P" else image.convert(mode)


LYING = Image.Exif()
LYING[0x0112] = 6
ONE_STRIP = {"compression": "tiff_lzw", "strip_size": 2**30}

KINDS = {
    "transparent": ("PNG", "RGBA", {"compress_level": 1}),
    "transparent-grey": ("PNG", "LA", {"compress_level": 1}),
    "transparent-palette": ("PNG", "P", {"compress_level": 1, "transparency": bytes(range(64))}),
    "deep-grey": ("PNG", "I;16", {"compress_level": 1}),
    "lying": ("PNG", "RGB", {"compress_level": 1, "exif": LYING}),
    "bad-note": ("PNG", "RGB", {"compress_level": 1, "exif": b"Exif\0\0junk"}),
    "progressive": ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    "print": ("JPEG", "CMYK", {"progressive": True, "subsampling": 0}),
    "strips": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "one-strip": ("TIFF", "RGBA", ONE_STRIP),
    "gif": ("GIF", "P", {"transparency": 3}),
    "targa": ("TGA", "RGBA", {}),
    "icon": ("ICO", "RGBA", {"sizes": [(256, 256)]}),
    "webp": ("WEBP", "RGBA", {"lossless": True, "method": 0, "quality": 0}),
    "avif": ("AVIF", "RGBA", {"speed": 10, "subsampling": "4:4:4"}),
    "jpeg2000": ("JPEG2000", "RGBA", {}),
}
FEATURES = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}


@pytest.mark.parametrize("kind", KINDS)
def test_no_picture_takes_more_memory_than_is_counted_with(tmp_path, kind):
    file_format, mode, options = KINDS[kind]
    if file_format in FEATURES and not features.check(FEATURES[file_format]):
        pytest.skip(f"this Pillow has no {file_format}")
    path = tmp_path / "picture"
    picture(mode).save(path, file_format, **options)
    told, taken, promised = measured(path)
    assert told.endswith(", 3)")
    # Where a note is bad the content is copied without it.
    assert taken < promised + path.stat().st_size * (2 if kind == "bad-note" else 0) + SLACK


def white_png(side):
    stream = io.BytesIO()
    Image.new("L", (side, side), 255).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_that_takes_more_than_a_gigabyte_is_refused_with_its_size(tmp_path):
    path = tmp_path / "big.png"
    path.write_bytes(white_png(11_000))  # 121 million pixels
    told, taken, _ = measured(path)
    assert told.startswith("11000 x 11000 pixels take more than 1 GB to read from PNG;")
    assert taken < SLACK
    with pytest.raises(ImageFileError, match=r"big\.png: 11000 x 11000 pixels"):
        read_image(path)


@pytest.mark.filterwarnings("ignore:Image was not the expected size")
def test_an_icon_is_as_large_as_what_is_in_it(monkeypatch):
    png = white_png(300)
    header = struct.pack("<HHH", 0, 1, 1)
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(png), 22)
    monkeypatch.setattr(reading, "MOST_BYTES", 500_000)
    with pytest.raises(ImageFileError, match="300 x 300 pixels take more"):
        decode_image(header + entry + png)


def test_a_small_picture_in_a_huge_tile_is_refused(tmp_path):
    # libtiff decodes the whole tile, and zeros compress to nothing.
    side = 16_000
    tile = zlib.compress(bytes(1 << 20))
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1}  # one band of grey, deflated
    tags |= {322: side, 323: side, 324: 200, 325: len(tile)}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items())]
    start = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4)
    path = tmp_path / "tile.tiff"
    path.write_bytes(start.ljust(200, b"\0") + tile)
    told, taken, _ = measured(path)
    assert "16 x 16 pixels" in told and "take more than 1 GB" in told
    assert taken < SLACK


def modes():
    """A picture in every mode and with every kind of transparency, small."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    pixels[:4, :, 3] = 0
    image = Image.fromarray(pixels)
    colors, grey = image.convert("RGB"), image.convert("LA")
    found = {
        mode: colors.convert(mode) for mode in ("1", "L", "RGB", "CMYK", "YCbCr", "HSV", "LAB")
    }
    found |= {"RGBA": image, "RGBa": image.convert("RGBa")}
    found |= {"LA": grey, "La": grey.convert("La"), "PA": grey.convert("PA")}
    found["P"] = colors.quantize(16)
    found["I;16"] = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 251)
    for mode in ("L", "RGB", "I;16", "P"):  # one color stands for transparency
        found[f"{mode} hidden"] = hidden = found[mode].copy()
        hidden.info["transparency"] = hidden.getpixel((3, 3))
    found["P opacities"] = palette = found["P"].copy()
    palette.info["transparency"] = bytes(range(0, 160, 10))
    return found


def at_once(image):
    """What pictures are read as, without a thought of memory."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "I;16":
        values = np.asarray(image).astype(int)
        values[values == image.info.get("transparency", -1)] = 65535
        return np.repeat(np.rint(values[..., None] / 257).astype(np.uint8), 3, axis=2)
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


@pytest.mark.parametrize("mode", modes())
def test_pictures_read_in_bands_are_those_read_at_once(monkeypatch, mode):
    for orientation in range(10):
        image = modes()[mode]
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.info["exif"] = exif.tobytes()
        expected = at_once(image.copy())
        for pixels in (1, 14, 30, 2**18):  # one row, two, four with a rest, all
            monkeypatch.setattr(reading, "_BAND_PIXELS", pixels)
            np.testing.assert_array_equal(rgb_pixels(image), expected)
