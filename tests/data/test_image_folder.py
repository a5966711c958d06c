import re
import shutil

import numpy as np
import pytest
from PIL import Image

from reliability.tiny_world import write_pictures
from sdflow_jax.data.file_digests import FileDigests
from sdflow_jax.data.image_folder import ImageFolder, image_files
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


def _names(folder):
    return [str(file.relative_to(folder)) for file in image_files(folder)]


def test_hidden_files_and_folders_are_no_faces(folder):
    usual = _names(folder)
    for name in ("._00000.png", ".ipynb_checkpoints/00000-checkpoint.png", "__MACOSX/._00001.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "00000.png", folder / name)
    assert _names(folder) == usual == [f"{i:05d}.png" for i in range(7)]


def test_links_to_folders_are_followed_and_those_that_lead_back_are_named(folder, tmp_path):
    write_pictures(tmp_path / "elsewhere" / "more", 1, size=8)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert _names(folder)[-1] == "link/more/00000.png" and len(_names(folder)) == 8
    (tmp_path / "elsewhere" / "more" / "back").symlink_to(folder)
    with pytest.raises(DataError, match="link/more/back: this link leads back to .*faces"):
        image_files(folder)


def test_a_link_that_leads_nowhere_is_named(folder, tmp_path):
    (folder / "00007.png").symlink_to(tmp_path / "gone.png")
    source = ImageFolder(folder, {"train": (0, 8)}, image_size=8)
    with pytest.raises(DataError, match=r"00007\.png: No such file"):
        source.describe(FileDigests(tmp_path / "data"))


SPLITS = {"train": (0, 4), "test": (4, 7)}


def test_the_description_follows_the_content_and_nothing_else(folder, tmp_path):
    def describe(directory):
        source = ImageFolder(directory, SPLITS, image_size=8)
        return source.describe(FileDigests(tmp_path / "data"))

    first = describe(folder)
    moved = shutil.copytree(folder, tmp_path / "moved")
    (moved / "00006.png").rename(moved / "last.png")
    assert describe(moved) == first
    (moved / "00000.png").write_bytes((moved / "last.png").read_bytes() + b" ")
    other = describe(moved)
    assert other["content"]["train"] != first["content"]["train"]
    assert other["content"]["test"] == first["content"]["test"]


def test_a_picture_in_two_splits_is_refused_by_name(folder, tmp_path):
    shutil.copy(folder / "00001.png", folder / "00005.png")
    source = ImageFolder(folder, SPLITS, image_size=8)
    shutil.copy(folder / "00002.png", folder / "00006.png")
    with pytest.raises(DataError) as error:  # of both pairs at once
        source.describe(FileDigests(tmp_path / "data"))
    assert "2 pictures are in two splits; remove one of each" in str(error.value)
    for pair in (r"0000[15]\.png \(\w+\), .*0000[15]\.png", r"0000[26]\.png \(\w+\), .*0000[26]\."):
        assert re.search(pair, str(error.value))
    shutil.copy(folder / "00001.png", folder / "00002.png")
    ImageFolder(folder, {"train": (0, 4)}, image_size=8).describe(FileDigests(tmp_path / "data"))


def test_the_same_pixels_in_another_file_are_the_same_picture(folder, tmp_path):
    Image.open(folder / "00001.png").save(folder / "00005.webp", lossless=True)
    (folder / "00005.png").unlink()
    source = ImageFolder(folder, SPLITS, image_size=8)
    source.describe(FileDigests(tmp_path / "data"))
    _all(source, "train")
    with pytest.raises(DataError, match=r"00001\.png \(train\) and .*00005\.webp \(test\)"):
        _all(source, "test")


def test_a_picture_that_changes_while_it_is_used_is_named(folder, tmp_path):
    source = ImageFolder(folder, SPLITS, image_size=8)
    source.describe(FileDigests(tmp_path / "data"))
    shutil.copy(folder / "00006.png", folder / "00001.png")
    with pytest.raises(DataError, match=r"00001\.png has been changed since it was first read"):
        _all(source, "train")
