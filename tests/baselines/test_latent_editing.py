import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax import networks
from sdflow_jax.baselines.interfacegan import Boundary
from sdflow_jax.baselines.latent_editing import (
    AttributeDirections,
    AttributeTransformers,
    LatentEditing,
    export_editing,
)
from sdflow_jax.baselines.train_interfacegan import fit_boundaries, unit_directions
from sdflow_jax.baselines.training_latents import TrainingLatents, correlations

ATTRIBUTES = ("Young", "Male")
SETTINGS = {"extremes": 0.25, "train_share": 0.8, "penalty": 10.0, "conditional": True}


class MeanColors(nnx.Module):
    """Reads the mean red and the mean green of images as two semantic variables."""

    def __call__(self, images):
        return (images.mean((1, 2))[:, :2] + 1) / 2


def editing_with(mover):
    return LatentEditing(mover, MeanColors(), attributes=ATTRIBUTES, image_size=4)


def filled_transformers():
    mover = AttributeTransformers(2, 3, 4, rngs=nnx.Rngs(0))
    for k, transformer in enumerate(mover.transformers):
        values = np.random.default_rng(k).standard_normal((3, 4, 4)).astype(np.float32)
        transformer.kernel.set_value(jnp.asarray(values))
    return mover


@pytest.fixture
def latents():
    """Codes of 3 x 4; the first two numbers of their mean style decide two correlated attributes."""
    random = np.random.default_rng(0)
    w_plus = random.standard_normal((400, 3, 4)).astype(np.float32)
    mean = 3**0.5 * w_plus.mean(1)
    scores = np.stack([mean[:, 0] + 0.7 * mean[:, 1], mean[:, 1]], 1)
    return TrainingLatents(w_plus, 1 / (1 + np.exp(-4 * scores)), ("Male", "Young"))


def test_wish_for_what_is_there_changes_nothing_and_twice_the_wish_goes_twice_as_far():
    mover = AttributeDirections(2, 3, 4, rngs=nnx.Rngs(0))
    directions = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    mover.directions.set_value(jnp.asarray(directions))
    editing = editing_with(mover)
    w_plus = np.ones((2, 3, 4), np.float32)
    images = np.random.default_rng(1).uniform(-1, 1, (2, 4, 4, 3)).astype(np.float32)
    code, read = editing.encode(w_plus, images)
    np.testing.assert_allclose(read, (images.mean((1, 2))[:, :2] + 1) / 2, atol=1e-6)
    np.testing.assert_array_equal(editing.decode(code, read), w_plus)
    wish = np.array([[0.25, -0.5]], np.float32)
    once, twice = (np.asarray(editing.decode(code, read + k * wish)) for k in (1, 2))
    expected = w_plus + 0.25 * directions[0] - 0.5 * directions[1]
    np.testing.assert_allclose(once, expected, atol=1e-5)
    np.testing.assert_allclose(twice - w_plus, 2 * (once - w_plus), atol=1e-5)


def test_transformers_act_one_after_the_other():
    mover = filled_transformers()
    w_plus = np.random.default_rng(5).standard_normal((2, 3, 4)).astype(np.float32)
    change = np.array([[0.5, -1.0], [0.0, 2.0]], np.float32)
    expected = w_plus.astype(np.float64)
    for k, transformer in enumerate(mover.transformers):
        kernel = np.asarray(transformer.kernel[...], np.float64) / np.sqrt(4)
        step = np.einsum("bni,nio->bno", expected, kernel)
        expected = expected + change[:, k, None, None] * step
    np.testing.assert_allclose(mover(w_plus, change), expected, atol=1e-5)


@pytest.mark.parametrize("conditional", [False, True])
def test_unit_leads_from_those_without_to_those_with_the_attribute(latents, conditional):
    boundaries, separations, report = fit_boundaries(latents, ATTRIBUTES, SETTINGS, seed=0)
    assert min(entry["validation_accuracy"] for entry in report.values()) > 0.95
    directions = unit_directions(boundaries, separations, conditional=conditional)
    normals = np.stack([boundary.normal for boundary in boundaries])
    effect = normals @ directions.T  # of direction j on the distance to boundary i
    np.testing.assert_allclose(np.diag(effect), separations, rtol=1e-4)
    others = effect[~np.eye(2, dtype=bool)]
    if conditional:
        np.testing.assert_allclose(others, 0, atol=1e-4)
    else:
        assert np.abs(others).min() > 0.1  # the attributes are correlated
    # The boundary of Young, second of the classifier's and first of ours, ignores the first number.
    assert abs(normals[0, 0]) < 0.2 < normals[0, 1]


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_report_has_nothing_where_there_was_nothing_to_measure(latents):
    undecided = latents._replace(predictions=np.full_like(latents.predictions, 0.5))
    for faces, settings, missing in (
        (latents, {**SETTINGS, "train_share": 1.0}, {"validation_accuracy"}),
        (undecided, SETTINGS, {"separation"}),
    ):
        *_, report = fit_boundaries(faces, ("Young",), settings, seed=0)
        assert {key for key, value in report["Young"].items() if value is None} == missing
        json.dumps(report, allow_nan=False)


def test_direction_along_the_boundary_of_another_attribute_is_refused():
    same = Boundary(np.array([1.0, 0.0], np.float32))
    with pytest.raises(ValueError, match="span of the conditions"):
        unit_directions([same, same], [1.0, 1.0], conditional=True)


def test_correlations_are_absolute_and_zero_for_a_constant(latents):
    predictions = np.concatenate([latents.predictions, np.full((400, 1), 0.3)], 1)
    predictions[:, 1] *= -1
    found = correlations(predictions)
    expected = np.abs(np.corrcoef(latents.predictions.T))
    np.testing.assert_allclose(found[:2, :2], expected, atol=1e-9)
    np.testing.assert_array_equal(found[2], 0)


@pytest.mark.parametrize("method", ["interfacegan", "latent_transformer"])
def test_editing_survives_its_files(tmp_path, method):
    classifier = {
        "depth": 18,
        "num_attributes": 2,
        "num_age_thresholds": 0,
        "width": 2,
        "stem_pool": False,
        "head_sizes": [],
    }
    arguments = {"classifier": classifier, "columns": [1, 0]}
    reader = networks.build("ChosenAttributes", arguments)
    reader.eval()
    if method == "interfacegan":
        mover = AttributeDirections(2, 3, 4, rngs=nnx.Rngs(0))
        mover.directions.set_value(jnp.arange(24.0).reshape(2, 3, 4))
    else:
        mover = filled_transformers()
    editing = LatentEditing(mover, reader, attributes=ATTRIBUTES, image_size=16)
    export_editing(tmp_path, method, editing, arguments)
    loaded = LatentEditing.from_workdir(tmp_path, method)
    assert loaded.attributes == ATTRIBUTES and loaded.image_size == 16
    assert loaded.reader == "training classifier"
    w_plus = np.ones((2, 3, 4), np.float32)
    images = np.random.default_rng(1).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(loaded.read(images), reader.classifier(images)[:, ::-1], rtol=1e-5)
    wish = np.array([[0.2, 0.9], [0.4, 0.1]], np.float32)
    code, _ = loaded.encode(w_plus, images)
    np.testing.assert_allclose(
        loaded.decode(code, wish), editing.decode(editing.encode(w_plus, images)[0], wish)
    )


def test_run_that_has_not_finished_says_so(tmp_path):
    with pytest.raises(networks.NetworkFileError, match="has the training in .* finished"):
        LatentEditing.from_workdir(tmp_path, "interfacegan")
