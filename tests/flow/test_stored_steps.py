"""The gradient from stored steps: diffrax's own, for every explicit solver and both directions."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.flow.solve import SolverSettings, solve
from sdflow_jax.flow.stored_steps import runge_kutta_step


def spiral(time, y, args):
    """A field that depends on time, and on its arguments in two places."""
    latents, density = y
    matrix, rate = args
    return jnp.sin(latents @ matrix) * jnp.exp(-rate * time), jnp.sum(latents**2, -1) * rate


def gradients(settings, *, reverse, success_only=False):
    random = np.random.default_rng(0)
    latents = jnp.asarray(random.normal(size=(3, 4)))
    args = (jnp.asarray(random.normal(size=(4, 4))), jnp.asarray(0.7))

    @jax.jit
    @jax.value_and_grad
    def total(inputs):
        start, args = inputs
        solution = solve(spiral, (start, jnp.zeros(3)), args, settings, reverse=reverse)
        if success_only:
            return jnp.where(solution.success, 1.0, 0.0)
        return jnp.sum(solution.y[0] ** 3) + jnp.sum(jnp.cos(solution.y[1]))

    return total((latents, args))


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "dopri5", "rtol": 1e-4, "atol": 1e-4, "first_step": 1.0},  # some are rejected
        {"method": "tsit5", "rtol": 1e-3, "atol": 1e-3},
        {"method": "dopri8", "rtol": 1e-6, "atol": 1e-6},
        {"method": "bosh3", "num_steps": 5},
        {"method": "heun", "num_steps": 3},
        {"method": "midpoint", "num_steps": 3},
        {"method": "euler", "num_steps": 3},
        {
            "method": diffrax.Kvaerno3(),
            "rtol": 1e-3,
            "atol": 1e-3,
        },  # implicit: by recursive checkpoints
    ],
    ids=lambda settings: str(settings["method"]).partition("(")[0],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_they_are_those_of_recursive_checkpoints(settings, reverse):
    with jax.enable_x64(True):
        found, expected = (
            gradients(SolverSettings(**settings, adjoint=adjoint), reverse=reverse)
            for adjoint in ("stored_steps", "recursive_checkpoint")
        )
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("adjoint", ["stored_steps", "recursive_checkpoint"])
def test_arguments_may_hold_integers_and_truth_values(adjoint):
    settings = SolverSettings("heun", num_steps=3, adjoint=adjoint)
    chosen = {"row": jnp.asarray([1, 0]), "is_fast": jnp.asarray([True, False])}

    def field(time, y, args):
        rates, chosen = args
        return -y * rates[chosen["row"]] * jnp.where(chosen["is_fast"], 2.0, 1.0)

    def end(rates, chosen):
        return jnp.sum(solve(field, jnp.ones(2), (rates, chosen), settings).y)

    of_rates, of_chosen = jax.grad(end, (0, 1), allow_int=True)(jnp.asarray([0.1, 0.2]), chosen)
    # A step of Heun's multiplies by 1 - x + x^2 / 2, where x is the rate times a third.
    x, speed = np.array([0.1, 0.4]) / 3, np.array([1.0, 2.0])
    expected = -speed * (1 - x) * (1 - x + x**2 / 2) ** 2
    np.testing.assert_allclose(of_rates, expected, rtol=1e-5)
    assert {leaf.dtype for leaf in jax.tree.leaves(of_chosen)} == {jax.dtypes.float0}


def test_examples_of_a_vmapped_solve_have_steps_of_their_own():
    settings = SolverSettings("tsit5", 1e-4, 1e-4, adjoint="stored_steps")
    rates = jnp.asarray([0.1, 30.0])  # the second takes many more steps
    matrix = jnp.eye(4)

    def end(rate):
        y = (jnp.ones((1, 4)), jnp.zeros(1))
        return jnp.sum(solve(spiral, y, (matrix, rate), settings).y[0])

    together = jax.jit(jax.vmap(jax.grad(end)))(rates)
    alone = [jax.jit(jax.grad(end))(rate) for rate in rates]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-4, atol=1e-6)


def test_a_solve_without_enough_steps_is_no_success():
    settings = SolverSettings(first_step=1e-3, max_steps=2, adjoint="stored_steps")
    value, _ = gradients(settings, reverse=False, success_only=True)
    assert value == 0


def test_a_step_ends_where_diffrax_ends_it():
    y, args = (jnp.ones((2, 3)), jnp.zeros(2)), (0.3 * jnp.eye(3), jnp.asarray(0.7))
    whole = solve(spiral, y, args, SolverSettings("tsit5", num_steps=1)).y
    step = runge_kutta_step(spiral, diffrax.Tsit5.tableau, jnp.zeros(()), jnp.ones(()), y, args)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), step, whole)
