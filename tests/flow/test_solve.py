import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.flow import SolverSettings
from sdflow_jax.flow.solve import solve


def decay(time, y, rate):
    del time
    return -rate * y


START = jnp.asarray([1.0, -2.0, 0.5])


@pytest.mark.parametrize("settings", [{}, {"num_steps": 8}, {"method": "tsit5"}])
def test_solution_is_the_closed_form_both_ways(settings):
    settings = SolverSettings.create(settings)
    rate = jnp.asarray(1.5)

    @jax.jit
    def both_ways(start):
        forward = solve(decay, start, rate, settings)
        return forward, solve(decay, forward.y, rate, settings, reverse=True)

    forward, back = both_ways(START)
    np.testing.assert_allclose(forward.y, START * np.exp(-1.5), atol=2e-5)
    np.testing.assert_allclose(back.y, START, atol=1e-4)  # errors grow by exp(1.5) on the way back
    assert forward.success and back.success
    if settings.num_steps:
        assert forward.num_steps == settings.num_steps


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "euler"])
def test_evaluations_are_counted(method):
    calls = []

    def counted(time, y, rate):
        jax.debug.callback(lambda: calls.append(1))
        return decay(time, y, rate)

    settings = SolverSettings(method=method, num_steps=3)
    solution = solve(counted, START, jnp.asarray(1.0), settings)
    jax.effects_barrier()
    assert solution.num_evaluations == len(calls)


def test_running_out_of_steps_is_no_success():
    solution = solve(decay, START, jnp.asarray(50.0), SolverSettings(max_steps=3))
    assert jnp.isfinite(solution.y).all() and not solution.success


@pytest.mark.parametrize("settings", [{}, {"num_steps": 2}])
def test_values_that_are_not_finite_are_no_success(settings):
    solution = solve(decay, START, jnp.asarray(jnp.nan), SolverSettings(**settings))
    assert not solution.success


def test_log_density_is_controlled_by_itself():
    # Many latents at rest beside one number that moves: one mean over all hides its error.
    def derivative(time, state, args):
        del args
        return jnp.zeros_like(state[0]), 50 * jnp.cos(50 * time) * jnp.ones_like(state[1])

    start = (jnp.ones(100_000), jnp.zeros(1))
    errors = {
        norm: abs(
            solve(derivative, start, None, SolverSettings(error_norm=norm)).y[1][0] - jnp.sin(50.0)
        )
        for norm in ("max_rms", "rms")
    }
    assert errors["max_rms"] < 1e-4 < errors["rms"]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"method": "rk45"}, "method must be one of dopri5.*got 'rk45'"),
        ({"rtol": 0.0}, "rtol must be positive; got 0.0"),
        ({"first_step": 2.0}, r"first_step must be in \(0, 1\]"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"adjoint": "magic"}, "adjoint must be one of recursive_checkpoint"),
        ({"method": "euler"}, "give it num_steps"),
        ({"tolerance": 1e-5}, "unknown solver settings tolerance; known ones are method"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SolverSettings.create(wrong)


def test_settings_survive_json():
    settings = SolverSettings(method="tsit5", num_steps=4)
    assert SolverSettings.create(settings.to_dict()) == settings
