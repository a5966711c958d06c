"""The update rule that a config describes."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from sdflow_jax.methods.sdflow.networks import TrainedNetworks, build_sdflow_optimizer
from sdflow_jax.training.optimizer import build_optimizer
from sdflow_jax.training.settings import OptimizerSettings

SETTINGS = OptimizerSettings(
    learning_rate=0.01,
    b1=0.9,
    b2=0.99,
    schedule="constant",
    warmup_steps=0,
    decay_steps=100,
    gradient_clip=0.0,
)


class TinyEncoder(nnx.Module):
    def __init__(self):
        self.backbone = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(2, 1, rngs=nnx.Rngs(0))


def changes_after_a_step(settings, backbone_rate=0.1):
    """How far one step moves the weights of flow, backbone and head, all of one layer each."""
    networks = TrainedNetworks(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), TinyEncoder())
    optimizer = nnx.Optimizer(
        networks, build_sdflow_optimizer(settings, backbone_rate=backbone_rate), wrt=nnx.Param
    )
    before = nnx.to_pure_dict(nnx.state(networks))
    gradients = jax.tree.map(lambda x: 1.0 + 0 * x, nnx.state(networks, nnx.Param))
    optimizer.update(networks, gradients)
    moved = jax.tree.map(lambda a, b: a - b, before, nnx.to_pure_dict(nnx.state(networks)))
    encoder = moved["semantic_encoder"]
    return moved["flow"]["kernel"], encoder["backbone"]["kernel"], encoder["head"]["kernel"]


@pytest.mark.parametrize("share", [1.0, 0.1, 0.0])
def test_the_backbone_moves_by_its_share_of_the_learning_rate(share):
    flow, backbone, head = changes_after_a_step(SETTINGS, share)
    # Adam's first step is the learning rate, whatever the gradient.
    np.testing.assert_allclose(flow, 0.01, rtol=1e-4)
    np.testing.assert_allclose(head, 0.01, rtol=1e-4)
    np.testing.assert_allclose(backbone, 0.01 * share, rtol=1e-4, atol=1e-9)


def test_warmup_begins_at_zero():
    for change in changes_after_a_step(dataclasses.replace(SETTINGS, warmup_steps=5)):
        np.testing.assert_array_equal(change, 0.0)


def test_cosine_ends_at_zero_and_clipping_bounds_the_norm():
    settings = dataclasses.replace(SETTINGS, schedule="cosine", decay_steps=20, gradient_clip=1.0)
    transform = build_optimizer(settings)
    parameters = {"flow": np.zeros(4, np.float32)}
    state = transform.init(parameters)
    sizes = []
    for scale in [1e3] * 21:
        updates, state = transform.update(
            {"flow": np.full(4, scale, np.float32)}, state, parameters
        )
        sizes.append(float(np.abs(updates["flow"]).max()))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == pytest.approx(0.01, rel=1e-3) and sizes[-1] == 0.0
    moments = next(
        s for s in jax.tree.leaves(state, is_leaf=lambda s: hasattr(s, "mu")) if hasattr(s, "mu")
    )
    # Of a gradient of norm 1 in four equal parts; 2000 unclipped.
    np.testing.assert_allclose(optax.tree.norm(moments.mu), 1.0, rtol=0.15)
