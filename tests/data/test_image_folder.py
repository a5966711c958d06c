import numpy as np
import pytest
from PIL import Image

from reliability.tiny_world import write_pictures
from sdflow_jax.data.image_folder import ImageFolder
from sdflow_jax.data.image_source import DataError
from sdflow_jax.images.pixels import to_bytes, to_signed


@pytest.fixture
def folder(tmp_path):
    write_pictures(tmp_path / "faces", 7, size=8)
    return tmp_path / "faces"


def _all(source, split):
    batches = list(source.split(split))
    ids, images = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return ids, images


def test_splits_follow_the_order_of_names(folder):
    splits = {"train": (0, 4), "test": (5, 7)}
    source = ImageFolder(folder, splits, image_size=8, batch_size=3)
    ids, images = _all(source, "train")
    assert ids.tolist() == [0, 1, 2, 3] and source.num_faces("train") == 4
    np.testing.assert_array_equal(images[2], np.asarray(Image.open(folder / "00002.png")))
    assert _all(source, "test")[0].tolist() == [5, 6]
    assert source.num_faces("validation") == 0 and not list(source.split("validation"))


def test_pictures_are_brought_to_one_size(folder):
    Image.new("RGB", (32, 32), (10, 20, 30)).save(folder / "00000.png")
    source = ImageFolder(folder, {"train": (0, 2)}, image_size=8)
    _, images = _all(source, "train")
    assert images.shape == (2, 8, 8, 3) and (images[0] == (10, 20, 30)).all()


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": (0, 8)}, "reach to image 8, .* has 7"),
        ({"train": (0, 4), "test": (3, 6)}, "test .* overlaps"),
        ({"train": (2, 2)}, "empty"),
        ({"dev": (0, 2)}, "unknown split dev"),
    ],
)
def test_impossible_splits_are_refused(folder, splits, message):
    with pytest.raises(DataError, match=message):
        ImageFolder(folder, splits, image_size=8)


def test_unusable_files_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="no such directory"):
        ImageFolder(tmp_path / "nothing", {"train": (0, 1)}, image_size=8)
    Image.new("RGB", (8, 9)).save(folder / "00000.png")
    (folder / "00001.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="00000.png: expected a square aligned face, got 8 x 9"):
        _all(ImageFolder(folder, {"train": (0, 1)}, image_size=8), "train")
    with pytest.raises(DataError, match="00001.png: not a readable image"):
        _all(ImageFolder(folder, {"train": (1, 2)}, image_size=8), "train")


def test_pixels_survive_the_way_to_floats_and_back():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    signed = np.asarray(to_signed(pixels))
    assert signed.min() == -1.0 and signed.max() == 1.0 and signed.dtype == np.float32
    np.testing.assert_array_equal(to_bytes(signed), pixels)
    assert to_bytes(np.full((1, 1, 1, 3), 7.0)).max() == 255


def test_pictures_are_read_as_viewers_show_them(folder):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image = Image.open(folder / "00001.png")
    image.rotate(180).save(folder / "00000.png", exif=exif)
    _, images = _all(ImageFolder(folder, {"train": (0, 2)}, image_size=8), "train")
    np.testing.assert_array_equal(images[0], images[1])
