"""Samples of the tiny world's generator as the faces of a data set."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.data import face_latents
from sdflow_jax.data.generator_samples import choose_seeds, open_generator
from sdflow_jax.data.image_source import DataError, LatentSource
from sdflow_jax.data.prepared import prepare_data
from sdflow_jax.data.settings import DataSettings
from sdflow_jax.files import networks
from sdflow_jax.images.pixels import to_signed
from tests.tiny_world import STYLE_DIM, build_tiny_world

SPLITS = {"train": (100, 120), "test": (200, 300)}
LIMITS = {"train": 5, "test": 3}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    world = build_tiny_world(tmp_path_factory.mktemp("world"))
    roles = ("generator", "classifier", "inversion_encoder")
    return {role: str(world / "networks" / f"{role}.safetensors") for role in roles}


@pytest.fixture(scope="module")
def generator(files):
    return networks.load_network(files["generator"])


def settings(**given) -> DataSettings:
    usual = {"source": "generator", "folder": "", "directory": "", "truncation": 0.6}
    reading = {"annotation_batch_size": 4, "num_threads": 1, "prefetch": 1}
    return DataSettings(**{**usual, **reading, "splits": SPLITS, "limits": LIMITS, **given})


def opened(files, **given):
    data = settings(**given)
    return open_generator(data, files, data.image_size)


def style(generator, z):
    return np.asarray(generator.truncate(generator.map(jnp.asarray(z, jnp.float32)), 0.6))


def test_face_is_the_truncated_sample_of_its_seed(files, generator):
    source, _ = opened(files)
    assert isinstance(source, LatentSource)
    assert source.num_faces("train") == 5 and source.num_faces("validation") == 0
    ids = np.concatenate([ids for ids, _ in source.split("train")])
    images = np.concatenate([images for _, images in source.split("train")])
    assert ids.tolist() == [100, 101, 102, 103, 104]
    assert images.shape == (5, 32, 32, 3) and images.dtype == np.uint8
    assert source.latent_shape == (1, STYLE_DIM)
    latents = source.latents(ids)
    z = np.random.default_rng(103).standard_normal((1, STYLE_DIM)).astype(np.float32)
    w = style(generator, z)
    np.testing.assert_allclose(latents[3], w, atol=1e-5)
    expected = np.clip(generator.synthesize(generator.broadcast(w)), -1, 1)[0]
    # Half a step of 8 bits, and float32.
    np.testing.assert_allclose(to_signed(images[3]), expected, atol=0.5 / 127.5 + 1e-3)
    # A face does not depend on its neighbors.
    np.testing.assert_allclose(source.latents(ids[3:4])[0], latents[3], atol=1e-6)


def test_share_of_the_faces_mixes_two_samples(files, generator):
    source, _ = opened(files, mixed_share=0.5)
    rows = generator.num_styles
    assert source.latent_shape == (rows, STYLE_DIM)
    seeds = np.arange(60)
    codes = source.latents(seeds)
    crossings = (np.abs(np.diff(codes, axis=1)).max(axis=2) > 1e-4).sum(axis=1)
    assert set(crossings) == {0, 1} and 18 <= crossings.sum() <= 42
    plain = opened(files)[0].latents(seeds)
    np.testing.assert_allclose(codes[:, 0], plain[:, 0], atol=1e-6)
    np.testing.assert_array_equal(source.latents(seeds[7:9]), codes[7:9])
    mixed = int(np.flatnonzero(crossings)[0])
    random = np.random.default_rng((mixed, 1))
    assert random.random() < 0.5
    crossing, z = random.integers(1, rows), random.standard_normal((1, STYLE_DIM))
    np.testing.assert_allclose(
        codes[mixed, crossing:], style(generator, z)[[0] * (rows - crossing)], atol=1e-5
    )


def test_seeds_are_the_first_that_may_be_used():
    allowed = np.array([101, 105, 107, 119, 120, 201])
    chosen = choose_seeds(SPLITS, {"train": 3}, allowed)
    assert {name: seeds.tolist() for name, seeds in chosen.items()} == {
        "train": [101, 105, 107],
        "validation": [],
        "test": [201],
    }
    with pytest.raises(DataError, match="asks for 5 train faces, and .* has 4 seeds"):
        choose_seeds(SPLITS, {"train": 5}, allowed)
    with pytest.raises(DataError, match="asks for 1 validation faces, and .* has 0 seeds"):
        choose_seeds(SPLITS, {"validation": 1})
    with pytest.raises(DataError, match="overlaps"):
        choose_seeds({"train": (0, 5), "test": (4, 9)}, {})
    with pytest.raises(DataError, match="negative"):
        choose_seeds({"train": (-1, 5)}, {})


def test_seed_list_is_read_and_checked(files, tmp_path):
    file = tmp_path / "adults.npy"
    np.save(file, np.array([110, 101, 102, 104, 107, 201, 202, 203], np.int32))
    source, description = opened(files, seed_list=str(file))
    assert next(source.split("train"))[0].tolist() == [101, 102, 104, 107]
    assert description["seed_list"] != opened(files)[1]["seed_list"] == ""
    np.save(file, np.array([0.5]))
    with pytest.raises(DataError, match="must hold whole numbers in one row"):
        opened(files, seed_list=str(file))
    with pytest.raises(DataError, match="config.data.seed_list: .*nowhere.npy cannot be read"):
        opened(files, seed_list="nowhere.npy")
    with pytest.raises(networks.NetworkFileError, match="the pocket world has no 'nobody'"):
        opened(files, seed_list="pocket:nobody")


def test_data_set_needs_no_inversion_encoder_and_keeps_the_sampled_latents(files, tmp_path):
    without = {**files, "inversion_encoder": ""}
    dataset = prepare_data(settings(image_size=16), without, tmp_path)
    recipe = face_latents.read_recipe(dataset)
    assert recipe["image_size"] == 16 and recipe["latent_shape"] == [1, STYLE_DIM]
    assert recipe["num_faces"] == {"train": 5, "validation": 0, "test": 3}
    assert recipe["networks"] == {"classifier": networks.digest(files["classifier"])}
    assert recipe["source"] == {
        "kind": "generator",
        "generator": networks.digest(files["generator"]),
        "splits": {name: list(ends) for name, ends in SPLITS.items()},
        "seed_list": "",
        "truncation": 0.6,
        "mixed_share": 0.0,
    }
    faces = face_latents.open_split(dataset, "test")
    source, _ = opened(files, image_size=16)
    ((ids, images),) = source.split("test")
    classifier = networks.load_network(files["classifier"])
    expected = classifier.attribute_probabilities(to_signed(jnp.asarray(images)))
    for place, face_id in enumerate(ids):
        face = faces[place]
        assert face["face_id"] == face_id
        np.testing.assert_array_equal(face["image"], images[place])
        np.testing.assert_allclose(face["w_plus"], source.latents(ids)[place], atol=1e-6)
        np.testing.assert_allclose(face["predictions"], expected[place], atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [{"truncation": 0.7}, {"mixed_share": 0.1}, {"splits": {**SPLITS, "train": (99, 120)}}],
)
def test_other_settings_make_another_data_set(files, change):
    assert opened(files)[1] != opened(files, **change)[1]


def test_killed_build_continues(files, tmp_path, monkeypatch):
    data = dataclasses.replace(settings(), annotation_batch_size=2)
    original = face_latents._annotator
    passes = []

    def dying(*given):
        annotate = original(*given)

        def annotate_or_die(ids, images):
            passes.append(ids.tolist())
            if len(passes) == 3:
                raise KeyboardInterrupt
            return annotate(ids, images)

        return annotate_or_die

    monkeypatch.setattr(face_latents, "_annotator", dying)
    with pytest.raises(KeyboardInterrupt):
        prepare_data(data, files, tmp_path)
    dataset = prepare_data(data, files, tmp_path)
    # The second batch was still being computed; the first is not computed again.
    assert passes[3:] == [[102, 103], [104, 104], [200, 201], [202, 202]]
    assert len(face_latents.open_split(dataset, "train")) == 5
