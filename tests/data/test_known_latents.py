"""Faces with latents and predictions that others have found, from the file to the data set."""

import numpy as np
import pytest
from PIL import Image

from reliability.tiny_world import ATTRIBUTES, STYLE_DIM, build_tiny_world
from sdflow_jax.data import face_latents
from sdflow_jax.data.image_source import DataError, LabeledSource, LatentSource
from sdflow_jax.data.latents_file import LatentsFile, save_latents
from sdflow_jax.data.prepared import prepare_data
from sdflow_jax.data.settings import DataSettings
from sdflow_jax.data.sources import open_source

NUM_FACES = 7
RANDOM = np.random.default_rng(0)
LATENTS = RANDOM.standard_normal((NUM_FACES, 8, STYLE_DIM)).astype(np.float32)
PREDICTIONS = RANDOM.integers(0, 2, (NUM_FACES, 2)).astype(np.float32)
PICTURES = [f"{place:05d}.png" for place in range(NUM_FACES)]
SPLITS = np.array([0, 2, 0, 0, 2, 0, 0], np.uint8)  # of train, validation, test


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build_tiny_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def files(world):
    return {
        role: str(world / "networks" / f"{role}.safetensors")
        for role in ("generator", "classifier")
    }


def settings(file, directory, **given) -> DataSettings:
    usual = {"source": "latents", "latents": str(file), "limits": {}, "splits": {}, "folder": ""}
    reading = {"annotation_batch_size": 4, "num_threads": 2, "prefetch": 1}
    return DataSettings(**{**usual, **reading, "directory": str(directory), **given})


def test_pictures_latents_and_predictions_become_a_data_set(world, files, tmp_path):
    save_latents(
        tmp_path / "file",
        LATENTS,
        predictions=PREDICTIONS,
        attributes=("Young", "Male"),
        splits=SPLITS,
        pictures=PICTURES,
    )
    data = settings(tmp_path / "file", tmp_path, folder=str(world / "faces"), image_size=16)
    assert data.brings_latents and data.has_originals
    dataset = prepare_data(data, files, tmp_path)
    recipe = face_latents.read_recipe(dataset)
    assert recipe["attributes"] == ["Young", "Male"] and recipe["networks"] == {}
    assert recipe["num_faces"] == {"train": 5, "validation": 0, "test": 2}
    faces = face_latents.open_split(dataset, "test")
    for face, place in zip(faces, (1, 4), strict=True):
        assert face["face_id"] == place
        np.testing.assert_array_equal(face["w_plus"], LATENTS[place])
        np.testing.assert_array_equal(face["predictions"], PREDICTIONS[place])
        picture = Image.open(world / "faces" / PICTURES[place])
        expected = picture.resize((16, 16), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(face["image"], np.asarray(expected))
    assert prepare_data(data, files, tmp_path) == dataset
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")


def test_without_pictures_and_predictions_the_networks_make_them(files, tmp_path):
    save_latents(tmp_path / "file", LATENTS[:, :1])
    splits = {"train": (0, 4), "test": (4, 7)}
    data = settings(tmp_path / "file", tmp_path, splits=splits, limits={"test": 2})
    assert not data.has_originals
    source, _ = open_source(data, files, 0)
    assert isinstance(source, LatentSource) and not isinstance(source, LabeledSource)
    assert source.latent_shape == (1, STYLE_DIM) and source.image_size == 32
    dataset = prepare_data(data, files, tmp_path)
    recipe = face_latents.read_recipe(dataset)
    assert recipe["attributes"] == list(ATTRIBUTES) and recipe["num_faces"]["test"] == 2
    faces = face_latents.open_split(dataset, "train")
    np.testing.assert_array_equal(faces[3]["w_plus"], LATENTS[3, :1])
    assert faces[0]["image"].shape == (32, 32, 3)
    assert (faces[0]["image"] != faces[1]["image"]).any()


def test_the_content_of_pictures_and_latents_names_the_data_set(world, files, tmp_path):
    def description(latents, folder):
        save_latents(tmp_path / "file", latents, splits=SPLITS, pictures=PICTURES)
        data = settings(tmp_path / "file", tmp_path, folder=str(folder))
        return open_source(data, files, 0)[1]

    folder = tmp_path / "faces"
    folder.mkdir()
    for name in PICTURES:
        (folder / name).write_bytes((world / "faces" / name).read_bytes())
    first = description(LATENTS, world / "faces")
    assert description(LATENTS, folder) == first
    assert description(LATENTS + 1, folder) != first
    Image.new("RGB", (32, 32)).save(folder / PICTURES[0])
    assert description(LATENTS, folder) != first


def test_a_picture_in_two_splits_is_refused_by_name(world, files, tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    for name in PICTURES:
        (folder / name).write_bytes((world / "faces" / name).read_bytes())
    (folder / PICTURES[1]).write_bytes((folder / PICTURES[0]).read_bytes())
    save_latents(tmp_path / "file", LATENTS, splits=SPLITS, pictures=PICTURES)
    with pytest.raises(
        DataError, match=r"two splits; .*00000\.png \(train\), .*00001\.png \(test\)"
    ):
        open_source(settings(tmp_path / "file", tmp_path, folder=str(folder)), files, 0)


def test_what_does_not_fit_is_told(world, files, tmp_path):
    def refused(message, **given):
        with pytest.raises(DataError, match=message):
            open_source(settings(tmp_path / "file", tmp_path, **given), files, 0)

    save_latents(tmp_path / "file", LATENTS[:, :, :4], splits=SPLITS)
    refused(r"holds latents of shape \(8, 4\), the generator takes \(8, 16\)")
    save_latents(tmp_path / "file", LATENTS)
    refused("has 7 faces and no splits")
    refused("has 7 faces and no splits", splits={"train": (0, 8)})
    refused("names no pictures", splits={"train": (0, 5)}, folder="faces")
    save_latents(tmp_path / "file", LATENTS, splits=SPLITS, pictures=PICTURES)
    refused("names pictures: set config.data.folder")
    refused("gone", folder=str(tmp_path / "gone"))
    (tmp_path / "file").write_bytes(b"no file of latents")
    refused("cannot be read")
    for other in (world / "networks" / "generator.safetensors", tmp_path / "gone"):
        with pytest.raises(DataError, match="no file of latents|cannot be read"):
            LatentsFile(other)
