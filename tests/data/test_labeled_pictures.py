import dataclasses

import numpy as np
import pytest
from PIL import Image

from sdflow_jax.data.file_digests import FileDigests
from sdflow_jax.data.image_source import DataError
from sdflow_jax.data.labeled_pictures import describe_pictures, open_labeled_pictures
from sdflow_jax.data.labeled_settings import LabeledSettings

NAMES = [f"{i}.jpg" for i in range(6)]


@pytest.fixture
def data(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(6):
        pixels = np.full((6, 4, 3), 40 * i, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    rows = [f"{name},{i % 2},{60 - 30 * (i % 2)}" for i, name in enumerate(NAMES)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,Male,age", *rows]))
    splits = [f"{name} {i // 2}" for i, name in enumerate(NAMES)]
    (tmp_path / "partition.txt").write_text("\n".join(splits))
    return LabeledSettings(
        folder=str(tmp_path / "images"),
        labels=str(tmp_path / "labels.csv"),
        partition=str(tmp_path / "partition.txt"),
        validation_share=0.5,
        age_column="age",
        crop=(1, 0, 4),
        image_size=2,
        missing_images="refuse",
        directory="",
        num_threads=1,
        prefetch=1,
    )


def opened(data, **changes):
    return open_labeled_pictures(dataclasses.replace(data, **changes), (), (40,))


def test_faces_come_with_their_labels(data):
    faces, attributes = opened(data)
    assert attributes == ("Male",) and list(faces) == ["train", "validation", "test"]
    face = faces["validation"][1]
    np.testing.assert_array_equal(face["image"], np.full((2, 2, 3), 120, np.uint8))
    assert face["labels"].tolist() == [1, 0]
    assert faces["train"].labels.tolist() == [[0, 1], [1, 0]]


def test_an_unknown_age_answers_no_question(data, tmp_path):
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(text.replace("5.jpg,1,30", "5.jpg,1,"))
    faces, _ = opened(data)
    assert faces["test"].labels.tolist() == [[0, 1], [1, -1]]


def test_aligned_faces_are_found(data, tmp_path):
    images = tmp_path / "images"
    (images / "0.png").rename(images / "0.jpg-1.png")
    assert opened(data)[0]["train"].files[0].name == "0.jpg-1.png"
    Image.new("RGB", (4, 6)).save(images / "0.jpg-2.png")  # two faces: whose labels are these?
    with pytest.raises(DataError, match="1 of 6 images are not in .*: 0.jpg"):
        opened(data)


def test_a_picture_has_one_name(data, tmp_path):
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(text.replace("5.jpg", "4.webp"))
    with pytest.raises(DataError, match="1 images are the same file .*: 4.webp and 4.jpg"):
        opened(data)


def test_missing_images_are_counted_or_left_out(data, tmp_path, capsys):
    for name in ("4.png", "5.png"):
        (tmp_path / "images" / name).unlink()
    with pytest.raises(
        DataError, match="labels.csv .*\n  2 of 6 images .*leave_out.*: 4.jpg, 5.jpg"
    ):
        opened(data)
    faces, _ = opened(data, missing_images="leave_out")
    assert list(faces) == ["train", "validation"]
    assert "2 of 6 labeled images are not in" in capsys.readouterr().out


def test_every_labeled_image_needs_a_split(data, tmp_path):
    (tmp_path / "partition.txt").write_text("0.jpg 0\n1.jpg 0\n2.jpg 1\nother.jpg 2\n")
    with pytest.raises(DataError, match="partition.txt .*\n  3 labeled images .*: 3.jpg, 4.jpg, 5"):
        opened(data)
    (tmp_path / "partition.txt").write_text("\n".join(f"{name} 0" for name in NAMES))
    with pytest.raises(DataError, match="no labeled image is in the validation split"):
        opened(data)


def test_every_question_needs_both_answers(data):
    with pytest.raises(DataError) as error:
        open_labeled_pictures(data, (), (20, 40, 65))
    first, second, *_ = str(error.value).splitlines()
    assert first.startswith("no face of the train split has older_than_65: choose other")
    assert second.startswith("no face of the train split has not older_than_20: choose other")


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ((), "0.png: expected a square aligned face, got 4 x 6"),
        ((3, 0, 4), "goes beyond its 4 x 6"),
    ],
)
def test_pictures_that_do_not_fit_are_named(data, crop, message):
    faces, _ = opened(data, crop=crop)
    with pytest.raises(DataError, match=message):
        faces["train"][0]


def test_the_description_changes_with_labels_and_pictures(data, tmp_path, capsys):
    faces, _ = opened(data)
    first = describe_pictures(faces, data, tmp_path)
    assert describe_pictures(faces, data, tmp_path) == first
    faces["train"].labels = 1 - faces["train"].labels
    assert describe_pictures(faces, data, tmp_path) != first
    assert "note" not in capsys.readouterr().out
    (tmp_path / "images" / "0.png").write_bytes((tmp_path / "images" / "2.png").read_bytes())
    with pytest.raises(DataError, match="0.png has been changed"):
        faces["train"][0]
    faces, _ = opened(data)
    assert describe_pictures(faces, data, tmp_path) != first
    assert "1 pictures of the validation split are in the train split" in capsys.readouterr().out
    assert faces["train"].digests(FileDigests(tmp_path), num_threads=1)
