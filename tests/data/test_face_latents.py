import shutil

import numpy as np
import pytest
from flax import nnx

from sdflow_jax import networks
from sdflow_jax.data import face_latents
from sdflow_jax.data.image_folder import ImageFolder
from sdflow_jax.data.image_source import DataError
from tests.tiny_world import write_pictures

SPLITS = {"train": (0, 5), "test": (5, 8)}


class MeanEncoder(nnx.Module):
    """Latents that follow from the mean color."""

    image_size, num_styles, style_dim = 8, 2, 3

    def __call__(self, images):
        return images.mean(axis=(1, 2))[:, None, :] * np.asarray([1.0, -2.0])[None, :, None]


class MeanClassifier(nnx.Module):
    """Two predictions and one surplus column, as an age network adds."""

    def __call__(self, images):
        return images.mean(axis=(1, 2)) ** 2


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder of pictures and two network files with stand-ins for their networks."""
    write_pictures(tmp_path / "faces", 8, size=8)
    stand_ins = {"encoder": MeanEncoder(), "classifier": MeanClassifier()}
    for name in stand_ins:
        notes = {"attributes": "Male,Young"}
        arguments = {"num_attributes": 2}
        path = tmp_path / f"{name}.safetensors"
        networks.save_arrays(path, name, arguments, {"x": np.zeros(1)}, notes=notes)
    monkeypatch.setattr(networks, "load_network", lambda path: stand_ins[path.stem])
    return tmp_path


def _prepare(world, splits=None, **changes):
    source = ImageFolder(world / "faces", splits or SPLITS, image_size=8, batch_size=2)
    settings = {
        "description": source.describe(),
        "inversion_encoder": world / "encoder.safetensors",
        "classifier": world / "classifier.safetensors",
        "batch_size": 3,
    }
    return face_latents.prepare(world / "data", source, **{**settings, **changes})


def test_faces_are_stored_with_what_the_networks_say(world):
    dataset = _prepare(world)
    recipe = face_latents.read_recipe(dataset)
    assert recipe["attributes"] == ["Male", "Young"] and recipe["latent_shape"] == [2, 3]
    for split, (first, stop) in SPLITS.items():
        faces = face_latents.open_split(dataset, split)
        _, images = next(
            iter(ImageFolder(world / "faces", {split: (first, stop)}, image_size=8).split(split))
        )
        assert len(faces) == stop - first
        for place in range(len(faces)):
            face = faces[place]
            mean = (images[place] / 127.5 - 1.0).mean(axis=(0, 1))
            assert face["face_id"] == first + place
            np.testing.assert_array_equal(face["image"], images[place])
            np.testing.assert_allclose(face["w_plus"], [mean, -2 * mean], atol=1e-6)
            np.testing.assert_allclose(face["predictions"], mean[:2] ** 2, atol=1e-6)
            assert face["w_plus"].dtype == face["predictions"].dtype == np.float32


def test_finished_data_set_is_reused_and_another_recipe_makes_another(world):
    dataset = _prepare(world)
    times = {file: file.stat().st_mtime_ns for file in dataset.iterdir()}
    assert _prepare(world) == dataset
    assert {file: file.stat().st_mtime_ns for file in dataset.iterdir()} == times

    assert _prepare(world, splits={"train": (0, 4)}) != dataset
    shutil.copy(world / "classifier.safetensors", world / "old.safetensors")
    networks.save_arrays(
        world / "classifier.safetensors",
        "classifier",
        {"num_attributes": 2},
        {"x": np.ones(1)},
        notes={"attributes": "Male,Young"},
    )
    assert _prepare(world) != dataset


def test_interrupted_build_leaves_no_data_set(world):
    class Breaking(ImageFolder):
        def split(self, split):
            for number, batch in enumerate(super().split(split)):
                if number == 2:
                    raise KeyboardInterrupt
                yield batch

    source = Breaking(world / "faces", SPLITS, image_size=8, batch_size=2)
    settings = {
        "description": source.describe(),
        "inversion_encoder": world / "encoder.safetensors",
        "classifier": world / "classifier.safetensors",
        "batch_size": 2,
    }
    with pytest.raises(KeyboardInterrupt):
        face_latents.prepare(world / "data", source, **settings)
    assert not list((world / "data").rglob("dataset_info.json"))
    killed = next((world / "data").glob("*/*")) / "1.0.0.incompleteABC"
    killed.mkdir()
    assert len(face_latents.open_split(_prepare(world), "train")) == 5
    assert not killed.exists()


def test_source_that_breaks_its_promise_is_named(world):
    class Short(ImageFolder):
        def num_faces(self, split):
            return super().num_faces(split) + 1

    source = Short(world / "faces", {"train": (0, 4)}, image_size=8)
    with pytest.raises(DataError, match="announced 5 train faces and gave 4"):
        face_latents.prepare(
            world / "data",
            source,
            description=source.describe(),
            inversion_encoder=world / "encoder.safetensors",
            classifier=world / "classifier.safetensors",
        )


def test_missing_split_is_named(world):
    dataset = _prepare(world)
    with pytest.raises(DataError, match="no validation faces; it has"):
        face_latents.open_split(dataset, "validation")
    assert face_latents.held_out_split(dataset) == "test"
