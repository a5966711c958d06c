import numpy as np
import pytest
from PIL import Image

from sdflow_jax.demo.photos import PhotoError, prepare_photo


def test_the_middle_square_is_taken(tmp_path):
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 10:50] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    np.testing.assert_array_equal(prepare_photo(tmp_path / "wide.png"), pixels[:, 10:50])


def test_a_turned_photo_is_upright_and_a_large_one_reduced(tmp_path):
    image = Image.new("RGB", (1600, 1200), "black")
    image.paste("white", (0, 0, 800, 1200))  # left; above, when turned as the camera was held
    exif = Image.Exif()
    exif[274] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    pixels = prepare_photo(tmp_path / "turned.jpg")
    assert pixels.shape == (1024, 1024, 3)
    assert pixels[:400].min() > 250 and pixels[-400:].max() < 5


def test_a_file_that_is_no_picture_is_told_without_the_servers_paths(tmp_path):
    path = tmp_path / "face.png"
    path.write_text("hello")
    with pytest.raises(PhotoError, match="cannot be opened as a picture .*PNG, JPEG") as failure:
        prepare_photo(path)
    assert str(tmp_path) not in str(failure.value)


def test_a_damaged_picture_is_told(tmp_path):
    path = tmp_path / "half.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(PhotoError, match="cannot be opened"):
        prepare_photo(path)


def test_a_tiny_picture_is_no_face(tmp_path):
    Image.new("RGB", (31, 400)).save(tmp_path / "thin.png")
    with pytest.raises(PhotoError, match="31 x 400 pixels"):
        prepare_photo(tmp_path / "thin.png")
