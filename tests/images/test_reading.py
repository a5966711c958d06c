import io
import pathlib
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from sdflow_jax.images import reading
from sdflow_jax.images.reading import (
    ImageFileError,
    center_crop,
    openable_suffixes,
    read_image,
    rgb_pixels,
    rgb_profile,
)
from sdflow_jax.images.reading_memory import MOST_BYTES

GREY = np.linspace(0, 255, 48).astype(np.uint8).reshape(6, 8)
COLORS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def saved(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_upright_whatever_their_orientation(tmp_path, orientation):
    # How the sensor saw the upright picture, for each EXIF orientation.
    undone = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x, 1),
        7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
        8: lambda x: np.rot90(x, -1),
    }
    stored = Image.fromarray(np.ascontiguousarray(undone[orientation](COLORS)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "photo.png", stored, exif=exif)
    np.testing.assert_array_equal(read_image(path), COLORS)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
def test_sixteen_bit_grey_is_scaled(tmp_path, suffix):
    path = saved(tmp_path / f"grey{suffix}", Image.fromarray(GREY.astype(np.uint16) * 257))
    pixels = read_image(path)
    assert pixels.dtype == np.uint8 and pixels.shape == (6, 8, 3)
    np.testing.assert_array_equal(pixels, np.repeat(GREY[..., None], 3, axis=2))


def test_a_transparent_grey_of_sixteen_bits_is_white(tmp_path):
    image = Image.fromarray(GREY.astype(np.uint16) * 257)
    pixels = read_image(saved(tmp_path / "grey.png", image, transparency=0))
    assert (pixels[0, 0] == 255).all() and (pixels[0, 1] == GREY[0, 1]).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"])
def test_every_usual_mode_shows_the_same_grey_picture(mode):
    two_tone = np.where(GREY > 127, 255, 0).astype(np.uint8)
    grey = Image.fromarray(two_tone)
    way = {"La": ["LA"], "RGBa": ["RGBA"], "PA": ["LA"], "RGBX": ["RGB"]}.get(mode, [])
    for step in [*way, mode]:
        grey = grey.convert(step)
    assert grey.mode == mode
    np.testing.assert_array_equal(rgb_pixels(grey), np.repeat(two_tone[..., None], 3, axis=2))


def test_print_colors_become_screen_colors(tmp_path):
    image = Image.new("CMYK", (2, 2), (255, 0, 0, 0))
    assert read_image(saved(tmp_path / "p.tiff", image))[0, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparent_pixels_are_white_whatever_hides_in_them(tmp_path, mode):
    if mode == "P":
        image = Image.new("P", (2, 1), 1)
        image.putpalette([255, 0, 0, 0, 255, 0])
        image.putpixel((0, 0), 0)
        path = saved(tmp_path / "p.png", image, transparency=0)
    else:
        hidden = (10, 0) if mode == "LA" else (10, 20, 30, 0)
        image = Image.new(mode, (2, 1), hidden[:-1] + (255,))
        image.putpixel((0, 0), hidden)
        path = saved(tmp_path / "p.png", image)
    pixels = read_image(path)
    assert pixels[0, 0].tolist() == [255] * 3 and pixels[0, 1].tolist() != [255] * 3


def test_half_transparent_is_half_white():
    image = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert abs(int(rgb_pixels(image)[0, 0, 0]) - 127) <= 1


def test_an_animation_is_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "LAB"])
def test_other_color_spaces_become_rgb(mode):
    image = Image.fromarray(COLORS).convert(mode)
    assert image.mode == mode
    assert np.abs(rgb_pixels(image).astype(int) - COLORS).mean() < 6  # eight bits lose a little


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_known_white_are_refused_by_name(tmp_path, mode):
    with pytest.raises(ImageFileError, match=rf"x\.tiff: .*'{mode}' have no known white"):
        read_image(saved(tmp_path / "x.tiff", Image.new(mode, (2, 2))))


def test_the_profile_of_rgb_is_told_and_no_other(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    image = Image.fromarray(COLORS)
    for name in ("a.png", "a.jpg", "a.webp", "a.tiff"):
        assert rgb_profile(saved(tmp_path / name, image, icc_profile=profile)) == profile
    for mode in ("RGBA", "P"):
        path = saved(tmp_path / f"{mode}.png", image.convert(mode), icc_profile=profile)
        assert rgb_profile(path) == profile
    # Converted in reading, or of other colors than the pixels.
    for mode in ("L", "CMYK"):
        path = saved(tmp_path / f"{mode}.tiff", image.convert(mode), icc_profile=profile)
        assert rgb_profile(path) is None
    assert rgb_profile(saved(tmp_path / "lab.png", image, icc_profile=lab)) is None
    assert rgb_profile(saved(tmp_path / "none.png", image)) is None
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "gone.png"):
        assert rgb_profile(tmp_path / name) is None


def test_all_formats_have_names_by_which_they_are_taken(tmp_path):
    suffixes = openable_suffixes()
    assert {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp"} <= suffixes
    assert not {".eps", ".pdf", ".heic", ".psd"} & suffixes
    by_format = {Image.registered_extensions().get(suffix) for suffix in suffixes}
    assert by_format - {None} == set(reading._formats())


def test_unreadable_files_are_named_in_one_line(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(COLORS).save(buffer, "PNG")
    whole = buffer.getvalue()
    for name, content in (("cut", whole[: len(whole) // 2]), ("text", b"no"), ("empty", b"")):
        path = tmp_path / f"{name}.png"
        path.write_bytes(content)
        with pytest.raises(ImageFileError, match=rf"{name}\.png: not a readable image") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageFileError, match=r"missing\.png: no such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(ImageFileError, match="directory"):
        read_image(tmp_path)


def test_a_file_of_more_than_is_promised_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "disk.png"
    with path.open("wb") as file:  # of no blocks on the disk
        file.truncate(MOST_BYTES + 1)
    monkeypatch.setattr(pathlib.Path, "read_bytes", lambda _: pytest.fail("read"))
    with pytest.raises(ImageFileError, match=r"disk\.png: a picture of more than 1 GB"):
        read_image(path)


def test_a_picture_too_large_to_be_safe_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path / "big.png", Image.new("L", (64, 64)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageFileError, match=r"big\.png: .*exceeds limit"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("profile", [b"no profile", b"x" * (3 << 20)])
def test_a_bad_profile_is_no_reason_to_refuse_pixels(tmp_path, suffix, profile):
    image = Image.new("RGB", (8, 8), (200, 100, 50))
    pixels = read_image(saved(tmp_path / f"p{suffix}", image, icc_profile=profile))
    assert np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 2


def _chunk(name, content):
    checksum = zlib.crc32(name + content).to_bytes(4)
    return len(content).to_bytes(4) + name + content + checksum


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"zTXt", b"a\0\0" + zlib.compress(bytes(3 << 20))),
        (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(3 << 20))),
        (b"iCCP", b""),
        (b"gAMA", b""),
        (b"pHYs", b"1"),
        (b"eXIf", b"junk"),
    ],
)
def test_notes_that_make_no_sense_are_no_reason_to_refuse_pixels(tmp_path, place, name, content):
    path = saved(tmp_path / "p.png", Image.fromarray(COLORS))
    png = path.read_bytes()
    where = 33 if place == "before" else png.index(b"IEND") - 4  # before or after the pixels
    path.write_bytes(png[:where] + _chunk(name, content) + png[where:])
    np.testing.assert_array_equal(read_image(path), COLORS)


def test_a_note_that_makes_no_sense_takes_no_orientation_away(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    path = saved(tmp_path / "p.png", Image.fromarray(COLORS), exif=exif)
    png = path.read_bytes()
    path.write_bytes(png[:33] + _chunk(b"gAMA", b"") + png[33:])
    np.testing.assert_array_equal(read_image(path), COLORS[::-1, ::-1])


def test_a_large_photo_is_read_without_a_word(tmp_path):
    path = saved(tmp_path / "large.png", Image.new("L", (12, 12)))
    program = (
        "import runpy; from PIL import Image; Image.MAX_IMAGE_PIXELS = 100;"
        f"print(runpy.run_path({reading.__file__!r})['read_image']({str(path)!r}).shape)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("(12, 12, 3)\n", "")


def test_center_crop():
    assert center_crop(COLORS).shape == (6, 6, 3)
    np.testing.assert_array_equal(center_crop(COLORS), COLORS[:, 1:7])
    np.testing.assert_array_equal(center_crop(COLORS.swapaxes(0, 1)), COLORS[:, 1:7].swapaxes(0, 1))


def test_a_program_in_postscript_is_no_picture(tmp_path, monkeypatch):
    path = tmp_path / "face.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("ran something"))
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/usr/bin/gs")
    with pytest.raises(ImageFileError, match="face.png: not a readable image"):
        read_image(path)


@pytest.mark.parametrize("name", ["JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "TGA", "ICO"])
def test_usual_formats_are_read_whatever_the_name_says(tmp_path, name):
    image = Image.new("RGB", (16, 16), (200, 100, 50))
    image.save(tmp_path / "face.png", name)
    found = read_image(tmp_path / "face.png")
    assert found.shape == (16, 16, 3)
    np.testing.assert_allclose(found.mean((0, 1)), [200, 100, 50], atol=4)


def test_several_pictures_of_a_camera_are_one(tmp_path):
    image = Image.fromarray(COLORS)
    image.save(tmp_path / "p.jpg", "MPO", save_all=True, append_images=[image.rotate(180)])
    assert read_image(tmp_path / "p.jpg").shape == COLORS.shape
