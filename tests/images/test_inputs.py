import warnings

import numpy as np
import pytest
from PIL import Image

from sdflow_jax.images.inputs import as_faces
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.images.reading import ImageFileError

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
SIGNED = np.asarray(to_signed(PIXELS))


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, pixels in zip(paths, PIXELS, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def test_one_face_in_every_form(files):
    for form in (PIXELS[0], SIGNED[0], Image.fromarray(PIXELS[0]), files[0], str(files[0])):
        faces = as_faces(form, 8)
        assert faces.is_single and faces.pixels.dtype == np.float32
        np.testing.assert_array_equal(faces.pixels, SIGNED[:1])


def test_several_faces_in_every_form(files):
    pictures = [Image.fromarray(pixels) for pixels in PIXELS]
    mixed = [files[0], SIGNED[1]]
    for form in (PIXELS, SIGNED, list(PIXELS), tuple(SIGNED), pictures, files, mixed):
        faces = as_faces(form, 8)
        assert not faces.is_single
        np.testing.assert_array_equal(faces.pixels, SIGNED)
    assert not as_faces(files[:1], 8).is_single


def test_pictures_are_brought_to_the_size_and_arrays_keep_theirs(files):
    assert as_faces(files, 4).pixels.shape == (2, 4, 4, 3)
    assert as_faces(PIXELS, 4).pixels.shape == (2, 8, 8, 3)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.bool_])
def test_integers_other_than_bytes_are_refused_by_name(dtype):
    with pytest.raises(ValueError, match=f"got {np.dtype(dtype)}"):
        as_faces(PIXELS.astype(dtype), 8)


def test_pixels_that_are_no_numbers_name_their_face():
    broken = SIGNED.copy()
    broken[1, 3, 3, 0] = np.nan
    for form in (broken, list(broken)):
        with pytest.raises(ValueError, match="face 1 has pixels that are NaN"):
            as_faces(form, 8)


def test_floats_in_zero_to_one_are_suspected_and_others_are_not():
    with pytest.warns(UserWarning, match=r"give 2 \* face - 1"):
        as_faces(PIXELS / 255.0, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_faces(SIGNED, 8)
        as_faces(np.zeros((1, 8, 8, 3)), 8)
        as_faces(np.zeros((0, 8, 8, 3)), 8)
        as_faces(np.zeros((1, 0, 0, 3)), 8)


def test_one_face_in_zero_to_one_is_suspected_among_others():
    with pytest.warns(UserWarning, match="face 1 is nowhere below 0; .* give 2"):
        as_faces([SIGNED[0], PIXELS[1] / 255.0], 8)
    with pytest.warns(UserWarning, match="face 1 is nowhere below 0"):
        as_faces([PIXELS[0], PIXELS[1] / 255.0], 8)


def test_floats_too_large_for_32_bits_are_refused_without_another_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="face 0 has pixels that are NaN or infinite"):
            as_faces(np.full((1, 8, 8, 3), 1e300), 8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (PIXELS.astype(np.float32), "floats up to 25"),
        (PIXELS[:, :6], r"square RGB images .* got shape \(2, 6, 8, 3\)"),
        (PIXELS[..., :1], "square RGB images"),
        (PIXELS[0, 0], "square RGB images"),
        ([], "empty list"),
        ([PIXELS[0], PIXELS[0, :4, :4]], r"of one size, got shapes \[\(4, 4, 3\), \(8, 8, 3\)\]"),
        (Image.new("RGB", (8, 9)), "square picture of an aligned face, got 8 x 9"),
    ],
)
def test_what_cannot_be_meant_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        as_faces(images, 8)


def test_files_are_named(tmp_path):
    Image.new("RGB", (8, 9)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match=r"wide\.png: expected a square"):
        as_faces(tmp_path / "wide.png", 8)
    with pytest.raises(ImageFileError, match=r"gone\.png: no such file"):
        as_faces([tmp_path / "gone.png"], 8)
