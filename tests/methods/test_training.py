"""Whole runs of the baselines on the tiny world, and edits with what they leave."""

import json
import shutil

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from reliability.tiny_world import EDITED_ATTRIBUTES, build_tiny_world, tiny_config
from sdflow_jax.data import face_latents
from sdflow_jax.data.prepared import prepare_data
from sdflow_jax.editor import Editor
from sdflow_jax.files import networks
from sdflow_jax.files.run_config import save_config, to_json
from sdflow_jax.images.pixels import to_bytes
from sdflow_jax.methods.registry import find_method
from sdflow_jax.methods.settings import read_settings
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.resumable import has_begun


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build_tiny_world(tmp_path_factory.mktemp("world"))


def _config(world, method):
    config = tiny_config(world)
    config.method = method
    config.interfacegan = {"extremes": 0.3, "train_share": 0.8, "penalty": 1.0, "conditional": True}
    config.latent_classifier = {"hidden_sizes": (8,), "num_steps": 4}
    config.latent_transformer = {"classification": 1.0, "attribute": 1.0, "reconstruction": 1.0}
    config.training.sample_every = 0
    return config


def _train(world, workdir, config):
    plain = to_json(config)
    settings = read_settings(plain)
    save_config(workdir, plain)
    dataset = prepare_data(settings.data, settings.networks, workdir)
    with Interrupts() as interrupts:
        find_method(config.method).train(settings, workdir, dataset, interrupts)
    return dataset


def _check_edits(workdir, dataset):
    faces = face_latents.open_split(dataset, "test")
    images = np.stack([faces[i]["image"] for i in range(2)])
    w_plus = np.stack([faces[i]["w_plus"] for i in range(2)])
    editor = Editor.from_workdir(workdir, batch_size=2)
    assert editor.attributes == EDITED_ATTRIBUTES
    # What it reads off the faces is what the frozen classifier said when the data set was made.
    columns = [face_latents.read_recipe(dataset)["attributes"].index(x) for x in EDITED_ATTRIBUTES]
    predicted = np.stack([faces[i]["predictions"][columns] for i in range(2)])
    np.testing.assert_allclose(editor.read(images), predicted, atol=1e-4)
    np.testing.assert_allclose(editor.edit(w_plus, images, {}), w_plus, atol=1e-6)
    edited = editor.edit(w_plus, images, {"Young": 3.0})
    assert np.abs(edited - w_plus).max() > 1e-3
    with pytest.raises(TypeError, match="cannot sample"):
        editor.sample(predicted, None)


def test_interfacegan_leaves_boundaries_and_edits(world, tmp_path):
    dataset = _train(world, tmp_path, _config(world, "interfacegan"))
    report = json.loads((tmp_path / "interfacegan" / "boundaries.json").read_text())
    assert list(report) == list(EDITED_ATTRIBUTES)
    assert report["Young"]["training_faces"] == 2 * int(0.8 * 12)  # of 0.3 x 40 faces on a side
    _check_edits(tmp_path, dataset)

    reader = tmp_path / "interfacegan" / "training_classifier.safetensors"
    assert networks.read_metadata(reader)["network"] == "ChosenAttributes"
    reader.rename(reader.with_name("semantic_encoder.safetensors"))  # as older runs have it
    _check_edits(tmp_path, dataset)


def test_latent_transformer_trains_edits_and_resumes_to_the_same_bits(world, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    config = _config(world, "latent_transformer")
    dataset = _train(world, whole, config)
    assert has_begun(whole)
    classifier = networks.load_network(
        whole / "latent_transformer" / "latent_classifier.safetensors"
    )
    assert classifier.layers[-1].kernel.shape == (8, 4)  # of all the classifier's attributes

    config.training.num_steps = 3
    _train(world, parts, config)
    assert has_begun(parts)
    shutil.rmtree(parts / "latent_transformer")
    config.training.num_steps = 8
    _train(world, parts, config)
    name = "latent_transformer/editing.safetensors"
    assert (whole / name).read_bytes() == (parts / name).read_bytes()
    _check_edits(whole, dataset)


@pytest.mark.parametrize("method", ["interfacegan", "latent_transformer"])
def test_baselines_train_without_decoding_a_picture(world, tmp_path, method, monkeypatch):
    def decode(*_):
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(tfds.features.Image, "decode_example_np", decode)
    _train(world, tmp_path, _config(world, method))
    assert (tmp_path / method / "editing.safetensors").exists()


@pytest.mark.parametrize("method", ["sdflow", "interfacegan", "latent_transformer"])
def test_methods_train_on_samples_of_one_row_and_edit_whole_codes(world, tmp_path, method):
    config = _config(world, method)
    config.networks.inversion_encoder = ""
    config.data.update({"source": "generator", "truncation": 0.8, "folder": ""})
    config.data.limits = {"train": 40, "validation": 2, "test": 4}
    config.data.splits = {"train": (0, 40), "validation": (40, 50), "test": (50, 60)}
    config.training.update({"num_steps": 4, "sample_every": 2})
    dataset = _train(world, tmp_path, config)
    faces = face_latents.open_split(dataset, "test")
    images, row = (np.stack([faces[i][key] for i in range(4)]) for key in ("image", "w_plus"))
    editor = Editor.from_workdir(tmp_path, batch_size=4)
    num_styles = editor.generator.num_styles
    assert row.shape == (4, 1, editor.generator.style_dim)
    pixels = to_bytes(editor.synthesize(row)).astype(int)
    assert np.abs(pixels - images).max() <= 1  # the pictures that were stored, but for rounding
    edited = editor.edit(row, images, {"Young": 2.0})
    assert edited.shape == row.shape
    whole = editor.edit(np.repeat(row, num_styles, axis=1), images, {"Young": 2.0})
    np.testing.assert_allclose(np.repeat(edited, num_styles, axis=1), whole, atol=5e-3)
    if method == "sdflow":
        assert editor.method.num_rows == 1
        assert editor.sample(np.full((4, 2), 0.5), jax.random.key(0)).shape == images.shape
        assert list((tmp_path / "samples").iterdir())
