"""The shipped faces and networks, looked at together."""

import numpy as np
import pytest

from sdflow_jax.files import networks
from sdflow_jax.pocket.build.autoencoder import pyramid_distance
from sdflow_jax.pocket.faces import SPLITS, PocketFaces


@pytest.fixture(scope="module")
def source():
    return PocketFaces({"train": 3, "validation": 64, "test": 130})


def test_splits_hold_their_own_seeds(source):
    for split, (low, high) in SPLITS.items():
        seeds = source.seeds(split)
        assert len(seeds) == source.num_faces(split)
        assert low <= seeds.min() and seeds.max() < high
        assert (np.diff(seeds) > 0).all()


def test_a_split_comes_in_batches_of_the_same_faces_as_asked_one_by_one(source):
    parts = list(source.split("test"))
    assert [len(images) for _, images in parts] == [128, 2]
    ids = np.concatenate([ids for ids, _ in parts])
    np.testing.assert_array_equal(ids, source.seeds("test"))
    np.testing.assert_array_equal(source.render(ids[[129]]), parts[1][1][1:])


def test_latent_noise_changes_a_face_a_little_and_always_alike(source):
    seeds = source.seeds("validation")[:16]
    faces = source.render(seeds).astype(float)
    noisy = source.render(seeds, latent_noise=0.1)
    np.testing.assert_array_equal(noisy, source.render(seeds, latent_noise=0.1))
    change = np.abs(noisy - faces).mean()
    between_people = np.abs(faces - np.roll(faces, 1, axis=0)).mean()
    assert 0.0 < change < 0.3 * between_people


def test_a_seed_without_a_face_is_named(source):
    known = set(np.concatenate([source.seeds("test"), source.seeds("validation")]).tolist())
    gap = next(s for s in range(source.seeds("test")[0], 61_000) if s not in known)
    with pytest.raises(KeyError, match=f"no face was found in the render of seed {gap}"):
        source.render(np.array([gap]))


def test_shipped_encoder_and_generator_rebuild_unseen_faces(source):
    faces = source.render(source.seeds("validation")[:32]) / np.float32(127.5) - 1
    encoder = networks.load_network("pocket:inversion_encoder")
    generator = networks.load_network("pocket:generator")
    rebuilt = generator.synthesize(encoder(faces))
    error = pyramid_distance(faces, rebuilt, 4)
    anothers = pyramid_distance(np.roll(faces, 1, axis=0), rebuilt, 4)
    assert error < 0.09 < anothers


def test_shipped_classifiers_learnt_apart_and_agree(source):
    faces = source.render(source.seeds("validation")) / np.float32(127.5) - 1
    probabilities = [
        np.asarray(networks.load_network(f"pocket:{name}")(faces))
        for name in ("classifier", "evaluation_classifier")
    ]
    same = (probabilities[0] > 0.5) == (probabilities[1] > 0.5)
    assert (same.mean(0) > 0.7).all(), same.mean(0)
    assert np.abs(probabilities[0] - probabilities[1]).max() > 1e-3
