"""A flow conditioned on the frozen classifier's predictions: StyleFlow, and most of the ablation."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from sdflow_jax.losses import LossSettings
from sdflow_jax.methods.sdflow.networks import TrainedNetworks
from sdflow_jax.methods.sdflow.step import make_sdflow_step
from sdflow_jax.training.state import create_state, evaluation_networks
from tests.methods.sdflow import toy

WEIGHTS = {"nll": 0.5, "reg": 0.7, "mi": 3.0}


@pytest.fixture(scope="module")
def run():
    classifier = toy.ToyEncoder(2, rngs=nnx.Rngs(2))
    classifier.eval()
    generator = toy.ToyGenerator(rngs=nnx.Rngs(1))
    graphs, state = create_state(
        lambda: TrainedNetworks(toy.toy_networks(2).flow, None),
        optax.sgd(1.0),
        seed=0,
        keeps_average=False,
    )
    step = make_sdflow_step(
        graphs,
        generator,
        classifier,
        weights=WEIGHTS,
        settings=LossSettings(terms=tuple(WEIGHTS), semantic_variables="classifier"),
    )
    return graphs, state, step, classifier


def test_step_moves_the_flow_and_neither_classifier_nor_its_statistics(run):
    graphs, state, step, classifier = run
    assert set(state["trained"]["networks"]) == {"flow"}
    frozen = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(classifier)))
    before = jax.tree.map(np.array, state["trained"]["networks"])
    new_state, measured = step(toy.copied(state), toy.toy_batch())
    after = new_state["trained"]["networks"]
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), before, after)
    assert all(jax.tree.leaves(moved))
    now = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(classifier)))
    jax.tree.map(np.testing.assert_array_equal, frozen, now)
    assert measured["success"] and "kd" not in measured
    assert evaluation_networks(graphs, new_state).semantic_encoder is None


def test_flow_is_conditioned_on_the_predictions_and_not_on_the_image(run):
    _, state, step, _ = run
    batch = toy.toy_batch()
    _, measured = step(toy.copied(state), batch)
    _, other_image = step(toy.copied(state), {**batch, "image": 255 - batch["image"]})
    assert measured["loss"] == other_image["loss"]
    turned = {**batch, "predictions": 1 - batch["predictions"]}
    _, other_predictions = step(toy.copied(state), turned)
    assert measured["nll"] != other_predictions["nll"]


def test_classifier_reads_the_edited_faces(run):
    graphs, state, _, classifier = run
    generator = toy.ToyGenerator(rngs=nnx.Rngs(1))
    settings = LossSettings(terms=("mi",), semantic_variables="classifier")

    def step_of(classifier):
        return make_sdflow_step(
            graphs, generator, classifier, weights={"mi": 1.0}, settings=settings
        )

    sure = nnx.clone(classifier)
    sure.norm.bias.set_value(sure.norm.bias[...] + 50.0)  # finds both attributes on every face
    _, measured = step_of(sure)(toy.copied(state), toy.toy_batch())
    batch = toy.toy_batch()
    # mi is then the mean of (1 - s_hat)^2, where one of the two is drawn and the other as predicted:
    # in the mean (1/3 + mean (1 - p)^2) / 2, here over 8 faces.
    expected = 0.5 * (1 / 3 + np.mean((1 - batch["predictions"]) ** 2))
    assert float(measured["mi"]) == pytest.approx(expected, abs=0.15)
    _, plain = step_of(classifier)(toy.copied(state), batch)
    assert abs(float(plain["mi"]) - float(measured["mi"])) > 0.02


def test_distillation_from_itself_is_refused():
    with pytest.raises(ValueError, match="weight must be 0"):
        LossSettings(semantic_variables="classifier")
