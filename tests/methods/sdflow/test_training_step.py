import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax.training.state import evaluation_networks
from tests.methods.sdflow import toy


@pytest.fixture(scope="module")
def run():
    return toy.toy_run(average_decay=0.9)


def _arrays(module, *kinds):
    return jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(module, *kinds)))


def _networks(graphs, state):
    return nnx.merge(graphs.training, state["trained"], copy=True)["networks"]


def _with_parameters(graphs, state, parameters):
    trained = nnx.merge(graphs.training, state["trained"], copy=True)
    nnx.update(trained["networks"], parameters)
    return {**state, "trained": nnx.to_pure_dict(nnx.state(trained))}


def test_step_moves_everything_trained_and_nothing_else(run):
    graphs, state, step, generator = run
    frozen = _arrays(generator)
    before = _networks(graphs, state)
    new_state, measured = step(toy.copied(state), toy.toy_batch())
    after = _networks(graphs, new_state)

    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), _arrays(before), _arrays(after))
    paths = jax.tree_util.tree_leaves_with_path(moved)
    still = [jax.tree_util.keystr(path) for path, is_moved in paths if not is_moved]
    assert not still, still  # parameters, and the statistics of both kinds of batch norm
    jax.tree.map(np.testing.assert_array_equal, frozen, _arrays(generator))

    assert measured["success"]
    weighted = sum(weight * measured[name] for name, weight in toy.WEIGHTS.items())
    np.testing.assert_allclose(measured["loss"], weighted, rtol=1e-6)
    assert measured["evaluations_forward"] == measured["evaluations_inverse"] == 4  # Heun, 2 steps


def test_average_goes_a_tenth_of_the_way_and_is_what_evaluation_uses(run):
    graphs, state, step, _ = run
    new_state, _ = step(toy.copied(state), toy.toy_batch())
    old, new = (_arrays(_networks(graphs, s), nnx.Param) for s in (state, new_state))
    expected = jax.tree.map(lambda a, b: a + 0.1 * (b - a), old, new)
    networks = evaluation_networks(graphs, new_state)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        expected,
        _arrays(networks, nnx.Param),
    )
    # The statistics are the current ones, and the batch norm uses them.
    current = _arrays(_networks(graphs, new_state), nnx.BatchStat)
    jax.tree.map(np.testing.assert_array_equal, current, _arrays(networks, nnx.BatchStat))
    assert networks.semantic_encoder.norm.use_running_average


def test_steps_draw_new_noise_and_the_same_state_the_same(run):
    _, state, step, _ = run
    _, first = step(toy.copied(state), toy.toy_batch())
    _, repeated = step(toy.copied(state), toy.toy_batch())
    later = toy.copied(state)
    later["trained"]["optimizer"]["step"] += 1
    _, second = step(later, toy.toy_batch())
    assert first["loss"] == repeated["loss"]
    assert first["kd"] == second["kd"] and first["mi"] != second["mi"]


def test_unsolved_equation_is_reported(run):
    _, state, step, _ = run
    batch = toy.toy_batch()
    batch["w_plus"][0, 0, 0] = np.inf
    _, measured = step(toy.copied(state), batch)
    assert not measured["success"]


def test_update_is_the_gradient_of_the_weighted_loss(monkeypatch):
    # All in float64, the images too.
    monkeypatch.setattr(
        "sdflow_jax.methods.sdflow.step.to_signed",
        lambda pixels: pixels.astype(jnp.float64) / 127.5 - 1.0,
    )
    # The frozen generator's weights stay in float32.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        # With a single attribute, s_hat is drawn and nothing else. Otherwise it moves with the encoder, but
        # counts as constant in the gradient, which no difference quotient would show.
        graphs, state, step, _ = toy.toy_run(num_attributes=1)
        batch = toy.toy_batch(num_attributes=1)
        for name in ("w_plus", "predictions"):
            batch[name] = batch[name].astype(np.float64)

        def in_float64(x):
            return x.astype(jnp.float64) if x.dtype == jnp.float32 else x

        state = {**state, "trained": jax.tree.map(in_float64, state["trained"])}
        random = np.random.default_rng(1)
        # Away from the initial point, where some gradients vanish by symmetry.
        parameters = jax.tree.map(
            lambda x: x + 0.3 * random.standard_normal(x.shape),
            _arrays(_networks(graphs, state), nnx.Param),
        )

        def evaluate(parameters):
            end, measured = step(toy.copied(_with_parameters(graphs, state, parameters)), batch)
            return _arrays(_networks(graphs, end), nnx.Param), float(measured["loss"])

        end, _ = evaluate(parameters)
        for part in ("flow", "semantic_encoder"):
            direction = jax.tree.map(np.zeros_like, parameters)
            direction[part] = jax.tree.map(
                lambda x: random.standard_normal(x.shape), parameters[part]
            )
            # Gradient descent of rate 1: the update is minus the gradient.
            slopes = jax.tree.map(
                lambda old, new, d: np.sum((old - new) * d), parameters, end, direction
            )
            slope = sum(jax.tree.leaves(slopes))
            h = 1e-5

            def loss_at(amount, direction=direction):
                moved = jax.tree.map(lambda x, d: x + amount * d, parameters, direction)
                return evaluate(moved)[1]

            assert abs(slope) > 0.01
            # The quotient errs by h^2 times a third derivative, and by 1e-16 / h from rounding.
            np.testing.assert_allclose(slope, (loss_at(h) - loss_at(-h)) / (2 * h), rtol=1e-6)
