import json
import pathlib

import numpy as np
import pytest

from sdflow_jax.methods.interfacegan.boundary import (
    Boundary,
    count_correct,
    fit_boundary,
    load_boundary,
    project_boundary,
    save_boundary,
    split_extremes,
)

BASELINES = pathlib.Path(__file__).parents[2] / "golden/baselines"


def load(case: str):
    with np.load(BASELINES / f"{case}.npz") as arrays:
        return json.loads((BASELINES / f"{case}.json").read_text()), dict(arrays)


@pytest.mark.parametrize("case", ["boundary_overlapping", "boundary_invalid", "boundary_separable"])
def test_boundary_is_upstreams(case):
    description, arrays = load(case)
    options = description["arguments"]
    split = split_extremes(
        arrays["scores"][:, 0],
        (arrays["positive_permutation"], arrays["negative_permutation"]),
        chosen=options["chosen_num_or_ratio"],
        train_share=options["split_ratio"],
        invalid_score=options["invalid_value"],
    )
    boundary = fit_boundary(arrays["latents"], split)
    assert boundary.normal @ arrays["normal"][0] > 0.9999  # libsvm stops early
    tight = arrays["normal_tight_f64"][0]
    assert boundary.normal @ tight > (1 - 1e-7) * np.linalg.norm(tight)
    for part, indices in (("validation", split.validation), ("remaining", split.remaining)):
        correct = count_correct(boundary, arrays["latents"], indices)
        assert abs(correct - description["accuracy"][part]["correct"]) <= 1
        assert len(indices[0]) == description["accuracy"][part]["total"]


@pytest.mark.parametrize("count", range(5))
def test_projection_is_upstreams(count):
    _, arrays = load("projection")
    conditions = [arrays[f"cond{i + 1}"][0] for i in range(count)]
    projected = project_boundary(arrays["primal"][0], *conditions)
    np.testing.assert_allclose(projected, arrays[f"out{count}"][0], atol=2e-6)
    for condition in conditions:
        assert abs(projected @ condition) < 1e-6


def test_moves_are_upstreams():
    _, arrays = load("projection")
    boundary = Boundary(arrays["primal"][0])
    distances = np.linspace(-3, 3, 7, dtype=np.float32)
    latents = np.repeat(arrays["latent"], 7, axis=0)
    moved = boundary.move(
        latents, distances - latents @ boundary.normal
    )  # until n.w is the distance
    np.testing.assert_allclose(moved, arrays["interp"], atol=2e-6)
    distances = np.linspace(-2, 4, 5, dtype=np.float32)
    moved = boundary.move(np.repeat(arrays["latent_wplus"], 5, axis=0), distances[:, None])
    np.testing.assert_allclose(moved, arrays["interp_wplus"], atol=2e-6)


def test_split_takes_the_extremes_and_leaves_invalid_scores_out():
    scores = np.array([5.0, -99.0, 1.0, 9.0, 3.0, 0.0, 7.0])
    split = split_extremes(
        scores, np.random.default_rng(0), chosen=2, train_share=0.5, invalid_score=-99.0
    )
    indices = np.concatenate([split.train[0], split.validation[0]])
    labels = np.concatenate([split.train[1], split.validation[1]])
    assert set(indices[labels > 0]) == {3, 6} and set(indices[labels < 0]) == {5, 2}
    assert dict(zip(*split.remaining, strict=True)) == {0: 1, 4: -1}  # middle of the range: 4.5


def test_split_that_trains_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one training example"):
        split_extremes(np.arange(10.0), np.random.default_rng(0), chosen=0.05)


def test_projection_within_the_span_is_refused():
    x, y = np.eye(3)[:2]
    with pytest.raises(ValueError, match="span"):
        project_boundary(x, y, (x + y) / np.sqrt(2))


def test_boundary_survives_its_file(tmp_path):
    boundary = Boundary(np.array([0.6, 0.8], np.float32), offset=-1.25)
    save_boundary(tmp_path / "b.safetensors", boundary)
    loaded = load_boundary(tmp_path / "b.safetensors")
    np.testing.assert_array_equal(loaded.normal, boundary.normal)
    assert loaded.offset == boundary.offset
    assert [file.name for file in tmp_path.iterdir()] == ["b.safetensors"]


def test_distance_is_signed():
    boundary = Boundary(np.array([0.0, 1.0], np.float32), offset=-2.0)
    np.testing.assert_allclose(boundary.distance(np.array([[5.0, 3.0], [5.0, 0.0]])), [1, -2])


@pytest.mark.parametrize("normal", [np.ones(3), np.eye(2), np.full(2, np.nan)])
def test_normal_must_be_a_unit_vector(normal):
    with pytest.raises(ValueError, match="unit normal"):
        Boundary(normal)


def test_other_files_are_no_boundaries(tmp_path):
    (tmp_path / "b").write_bytes(b"nonsense")
    for name in ("b", "missing"):
        with pytest.raises(ValueError, match=name):
            load_boundary(tmp_path / name)
