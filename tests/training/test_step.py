"""The step of any loss function, on a linear layer whose gradients are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sdflow_jax.training.state import create_state
from sdflow_jax.training.step import Losses, make_train_step


class Line(nnx.Module):
    """y = a x, which counts its updates."""

    def __init__(self):
        self.a = nnx.Param(jnp.asarray(2.0))
        self.count = nnx.BatchStat(jnp.asarray(0.0))


def losses(line, frozen, batch, key):
    error = jnp.mean((line.a[...] * batch["x"] - frozen["target"].a[...] * batch["x"]) ** 2)
    draw = jax.random.uniform(key)
    return Losses({"error": error, "size": line.a[...] ** 2}, {"draw": draw}, batch["x"].sum())


def count(line, total):
    line.count[...] += total


@pytest.fixture(scope="module")
def run():
    graphs, state = create_state(Line, optax.sgd(0.1), seed=0, keeps_average=False)
    target = Line()
    target.a.set_value(jnp.asarray(5.0))
    step = make_train_step(
        graphs,
        losses,
        weights={"error": 1.0, "size": 0.5},
        frozen={"target": target},
        after_update=count,
    )
    return state, step


BATCH = {"x": np.array([1.0, 3.0], np.float32)}


def test_update_follows_the_weighted_gradient_and_then_the_hook(run):
    state, step = run
    new, measured = step(jax.tree.map(jnp.copy, state), BATCH)
    # d/da [(a - 5)^2 mean x^2 + a^2 / 2] at a = 2, where mean x^2 = 5.
    gradient = 2 * (2 - 5) * 5 + 2
    learned = new["trained"]["networks"]
    np.testing.assert_allclose(learned["a"], 2 - 0.1 * gradient, rtol=1e-6)
    assert learned["count"] == 4.0
    assert measured["error"] == 45.0 and measured["size"] == 4.0
    np.testing.assert_allclose(measured["loss"], 45 + 0.5 * 4)
    np.testing.assert_allclose(measured["gradient_norm"], abs(gradient))


def test_key_differs_from_step_to_step_and_is_the_same_for_a_step_repeated(run):
    state, step = run
    new, first = step(jax.tree.map(jnp.copy, state), BATCH)
    _, again = step(jax.tree.map(jnp.copy, state), BATCH)
    _, second = step(new, BATCH)
    assert first["draw"] == again["draw"] != second["draw"]


HARM = {
    "a term that is not finite": {"x": np.array([1.0, np.nan], np.float32)},
    "a term that overflows": {"x": np.array([1e30, 3.0], np.float32)},
    "a gradient alone that is not finite": {"x": np.zeros(2, np.float32), "root": np.float32(0)},
    "numbers that mean nothing": {**BATCH, "is_valid": np.asarray(False)},
}


@pytest.fixture(scope="module")
def harmed():
    def losses_with_root(line, frozen, batch, key):
        found = losses(line, frozen, batch, key)
        root = jnp.sqrt(line.a[...] * batch["root"])  # at 0 its value is 0 and its slope infinite
        return found._replace(terms={**found.terms, "root": root}, is_valid=batch["is_valid"])

    graphs, state = create_state(Line, optax.adam(0.1), seed=0, keeps_average=True)
    target = Line()
    step = make_train_step(
        graphs,
        losses_with_root,
        weights={"error": 1.0, "root": 1.0},
        frozen={"target": target},
        after_update=count,
        average_decay=0.9,
    )
    return state, step


@pytest.mark.parametrize("harm", HARM)
def test_harmful_step_changes_nothing_but_the_count_of_steps(harmed, harm):
    state, step = harmed
    usual = {"root": np.float32(1), "is_valid": np.asarray(True), **BATCH}
    state, measured = step(jax.tree.map(jnp.copy, state), usual)
    assert not measured["is_skipped"]
    before = jax.tree.map(np.asarray, state["trained"])
    average = np.asarray(state["average"]["a"])
    state, measured = step(state, {**usual, **HARM[harm]})
    assert measured["is_skipped"]
    after = jax.tree.map(np.asarray, state["trained"])
    assert after["optimizer"].pop("step") == before["optimizer"].pop("step") + 1 == 2
    jax.tree.map(np.testing.assert_array_equal, before, after)
    np.testing.assert_array_equal(state["average"]["a"], average)
    state, measured = step(state, usual)
    assert not measured["is_skipped"] and np.isfinite(state["trained"]["networks"]["a"])
