"""Codes by seed, probes, and what is taken for a label."""

import numpy as np
import pytest

from sdflow_jax.evaluation.published_readers import FaceReadings
from sdflow_jax.models.style_space import seeded_normal
from sdflow_jax.pocket.build.codes import FREE_SEEDS, CodeMaker
from sdflow_jax.pocket.build.labels import ATTRIBUTES, Annotations, adults, label_faces
from sdflow_jax.pocket.build.probes import fit_probe
from tests.filled_networks import filled_network


@pytest.fixture(scope="module")
def maker():
    arguments = {
        "resolution": 32,
        "style_dim": 8,
        "channels": {"4": 4, "8": 4, "16": 4},
        "num_mapping_layers": 1,
    }
    return CodeMaker(filled_network("MobileStyleGAN", arguments))


def test_codes_depend_on_the_seed_alone(maker):
    together, alone = maker(np.arange(5)), maker(np.array([3]))
    np.testing.assert_allclose(together.coarse[3], alone.coarse[0], atol=1e-6)
    first = np.random.default_rng(3).standard_normal((1, 8))
    np.testing.assert_allclose(seeded_normal(np.array([3]), 8), first, rtol=1e-6)


def test_only_free_seeds_are_mixed(maker):
    own, free = maker(np.arange(40)), maker(FREE_SEEDS + np.arange(40))
    assert (own.crossover == 18).all()
    mixed = free.crossover < 18
    assert 4 < mixed.sum() < 30
    rows = free.w_plus()
    assert all(
        len(np.unique(code, axis=0)) == 1 + flag for code, flag in zip(rows, mixed, strict=True)
    )


def test_annotations_are_complete():
    annotations = Annotations.read()
    assert len(annotations.seeds) == len(np.unique(annotations.seeds)) == 3600
    assert all(set(np.unique(x)) <= {0.0, 1.0} for x in annotations.values.values())
    assert np.isnan(annotations.of(np.array([5_000]), "Male")).all()


def test_a_probe_finds_the_direction_of_its_labels():
    random = np.random.default_rng(0)
    w = random.standard_normal((500, 6)).astype(np.float32)
    probe = fit_probe(w, (w[:, 2] > 0).astype(np.float32))
    found = probe(random.standard_normal((200, 6)).astype(np.float32))
    assert found.min() >= 0.0 and found.max() <= 1.0
    assert np.argmax(np.abs(probe.weights)) == 2
    assert np.mean((probe(w) > 0.5) == (w[:, 2] > 0)) > 0.97


def test_annotations_outrank_the_gender_network_and_age_gives_young():
    annotations = Annotations.read()
    seeds = np.array([0, 70_000, 70_001])  # only the first is annotated
    readings = FaceReadings(
        np.zeros((3, 128), np.float32),
        male=np.array([1 - annotations.of(seeds, "Male")[0], 0.99, 0.6], np.float32),
        age=np.array([40.0, 20.0, np.nan], np.float32),
    )
    labels = label_faces(seeds, readings, annotations)
    male, young = ATTRIBUTES.index("Male"), ATTRIBUTES.index("Young")
    assert labels[0, male] == annotations.of(seeds, "Male")[0]
    assert labels[1, male] == 1.0 and np.isnan(labels[2, male])
    assert labels[0, young] == pytest.approx(0.5) and labels[1, young] > 0.99
    assert np.isnan(labels[2, young]) and np.isnan(labels[1, 0])


def test_no_face_that_was_seen_as_a_child_is_an_adult():
    annotations = Annotations.read()
    seeds = annotations.seeds[:200]
    w = np.random.default_rng(1).standard_normal((200, 4)).astype(np.float32)
    old = FaceReadings(
        np.zeros((200, 128), np.float32), np.zeros(200, np.float32), np.full(200, 50, np.float32)
    )
    grown = adults(seeds, w, old, annotations)
    child = annotations.of(seeds, "Child") == 1
    assert not grown[child].any() and grown[~child].any()
    young = FaceReadings(old.embedding, old.male, np.full(200, 15, np.float32))
    assert not adults(seeds, w, young, annotations).any()
