import jax
import numpy as np
import pytest

from sdflow_jax.evaluation import JudgeOutputs
from sdflow_jax.evaluation.sampling import (
    SampledFaces,
    combinations_of,
    kinds_of,
    mean_distance,
    normal_codes,
    sample_and_judge,
    summarize_samples,
)
from sdflow_jax.methods.sdflow.editing import FlowEditing
from tests.evaluation.plain_setup import EDITED, PixelGenerator, plain_setup
from tests.filled_networks import filled_network

FLOW = {
    "dim": 4,
    "num_conditions": 2,
    "hidden_sizes": [4],
    "solver": {"method": "heun", "num_steps": 4},
}


def test_all_combinations_are_sampled_while_they_are_few():
    assert combinations_of(2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    for count in (6, 40):
        many = combinations_of(count)
        assert set(np.unique(many)) == {0, 1} and (many.sum(0) == 8).all()
        assert np.unique(many, axis=0).shape == (16, count)


def test_codes_are_normal_and_shared_ones_the_same_for_all_styles():
    independent, shared = (
        np.asarray(normal_codes(jax.random.key(0), 2000, 3, 4, kind))
        for kind in ("independent", "shared")
    )
    assert independent.shape == shared.shape == (2000, 3, 4)
    np.testing.assert_array_equal(shared, np.repeat(shared[:, :1], 3, axis=1))
    for codes in (independent, shared[:, 0]):
        assert abs(codes.mean()) < 0.05 and abs(codes.std() - 1) < 0.05
    correlation = np.corrcoef(independent[:, 0, 0], independent[:, 1, 0])[0, 1]
    assert abs(correlation) < 0.1


def test_distance_of_equal_faces_is_zero_and_of_opposite_ones_two():
    same = np.tile([[0.6, 0.8]], (3, 1))
    assert mean_distance(same) == pytest.approx(0)
    # Of the three pairs one is equal and two are opposite.
    assert mean_distance(same * np.array([[1], [1], [-1]])) == pytest.approx(4 / 3)


def test_accuracy_counts_faces_on_which_the_judge_finds_what_was_asked():
    combinations = np.array([[0.0, 1.0], [1.0, 0.0]])
    # Two codes under each combination; the judge knows (Male, Young, Eyeglasses).
    probabilities = np.array([[[0, 0.1, 0.9], [0, 0.7, 0.9]], [[0, 0.9, 0.2], [0, 0.8, 0.6]]])
    embeddings = np.tile([[1.0, 0.0], [0.0, 1.0]], (2, 1, 1))
    faces = SampledFaces(
        combinations, np.zeros((2, 1, 4, 4, 3)), JudgeOutputs(probabilities, embeddings)
    )
    found = summarize_samples(
        faces, ("Young", "Eyeglasses"), ("Male", "Young", "Eyeglasses"), np.eye(3)
    )
    assert found["accuracy"] == {"Young": 0.75, "Eyeglasses": 0.75}
    assert found["diversity"] == 1.0 and found["diversity_of_faces"] == 1.0
    assert found["samples_per_combination"] == 2
    assert summarize_samples(faces, ("Young", "Hat"), ("Male", "Young"), np.eye(3))["accuracy"] == {
        "Young": 0.75
    }


def flow_method(**given):
    flow = filled_network("ConditionalFlow", FLOW)
    for norm in flow.norms:
        norm.variance[...] = np.ones_like(norm.variance[...])
    flow.blocks[0].sqrt_end_time[...] = np.ones((), np.float32)
    return FlowEditing(flow, PixelGenerator(), attributes=EDITED, image_size=4, **given)


def test_flow_of_one_row_has_one_kind_of_codes():
    setup, method = plain_setup(), flow_method(num_rows=1)
    assert kinds_of(setup, flow_method()) == ("independent", "shared")
    assert kinds_of(setup, method) == ("shared",)
    sampled, of_all_rows = (
        sample_and_judge(setup, x, num_samples=3, num_shown=3, kind="shared", batch_size=3)
        for x in (method, flow_method())
    )
    np.testing.assert_allclose(sampled.images, of_all_rows.images, atol=1e-5)


def test_every_combination_starts_from_the_same_codes():
    setup, method = plain_setup(), flow_method()
    sampled = sample_and_judge(
        setup, method, num_samples=5, num_shown=2, kind="independent", batch_size=3
    )
    assert sampled.images.shape == (4, 2, 4, 4, 3)
    codes = normal_codes(jax.random.key(0), 5, 2, 4, "independent")
    targets = np.tile(sampled.combinations[1], (5, 1))
    expected = jax.jit(lambda codes, targets: method.decode(codes, targets))(codes, targets)
    pixels = sampled.images[1].reshape(2, 48)[:, :8]
    np.testing.assert_allclose(
        pixels, np.clip(np.asarray(expected)[:2].reshape(2, 8), -1, 1), atol=1e-3
    )


def test_samples_without_a_face_are_not_what_was_asked_and_not_diverse():
    combinations = np.array([[0.0], [1.0]])
    probabilities = np.array([[[0.1], [np.nan], [0.2]], [[0.9], [0.9], [np.nan]]])
    embeddings = np.array([[[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]], [[0.6, 0.8], [0.6, 0.8], [0, 0]]])
    faces = SampledFaces(
        combinations, np.zeros((2, 1, 4, 4, 3)), JudgeOutputs(probabilities, embeddings)
    )
    found = summarize_samples(faces, ("Male",), ("Male",), np.zeros((3, 2)))
    assert found["accuracy"] == {"Male": 0.6667}
    assert found["diversity"] == 0.0 and found["diversity_of_faces"] is None
