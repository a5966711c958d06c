import dataclasses
import json

import diffrax
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
    joint = diffrax.PIDController(rtol=1e-5, atol=1e-5)  # one norm over everything
    usual, hidden = (
        abs(solve(derivative, start, None, settings).y[1][0] - jnp.sin(50.0))
        for settings in (SolverSettings(), SolverSettings(controller=joint))
    )
    assert usual < 1e-4 < hidden


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"method": "rk45"}, "method must be one of dopri5.*got 'rk45'"),
        ({"rtol": 0.0}, "rtol must be positive; got 0.0"),
        ({"first_step": 2.0}, r"first_step must be in \(0, 1\]"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"adjoint": "magic"}, "adjoint must be one of stored_steps"),
        ({"method": "euler"}, "give it num_steps"),
        ({"method": diffrax.Euler()}, "give it num_steps"),
        ({"method": 5}, "or a diffrax.AbstractSolver; got 5"),
        ({"controller": 1e-3}, "controller must be a diffrax step size controller"),
        ({"controller": diffrax.ConstantStepSize(), "num_steps": 2}, "both decide the step sizes"),
        ({"tolerance": 1e-5}, "unknown solver settings tolerance; known ones are method"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SolverSettings.create(wrong)


def test_objects_of_diffrax_do_what_their_names_do():
    named = SolverSettings(method="tsit5", num_steps=8, adjoint="direct")
    given = SolverSettings(method=diffrax.Tsit5(), num_steps=8, adjoint=diffrax.DirectAdjoint())
    rate = jnp.asarray(1.5)
    for settings in (named, given):
        assert hash(settings) == hash(dataclasses.replace(settings))  # jit compiles once
    first, second = (solve(decay, START, rate, settings) for settings in (named, given))
    np.testing.assert_array_equal(first.y, second.y)
    assert first.num_evaluations == second.num_evaluations == 49


def test_implicit_solvers_work_and_say_that_they_count_nothing():
    solver = diffrax.Kvaerno3(root_finder=diffrax.VeryChord(rtol=1e-5, atol=1e-5))
    solution = solve(decay, START, jnp.asarray(1.5), SolverSettings(method=solver))
    np.testing.assert_allclose(solution.y, START * np.exp(-1.5), atol=1e-3)
    assert solution.success and solution.num_evaluations == -1


def test_settings_with_objects_go_into_no_file():
    for settings in (
        SolverSettings(method=diffrax.Tsit5()),
        SolverSettings(adjoint=diffrax.DirectAdjoint()),
        SolverSettings(controller=diffrax.PIDController(rtol=1e-5, atol=1e-5)),
    ):
        with pytest.raises(ValueError, match="cannot be written to a file"):
            settings.to_dict()


def test_files_with_the_former_norm_are_read():
    assert SolverSettings.create({"rtol": 1e-4, "error_norm": "max_rms"}) == SolverSettings(
        rtol=1e-4
    )
    with pytest.raises(ValueError, match="error_norm .* is now always 'max_rms'"):
        SolverSettings.create({"error_norm": "rms"})


def test_settings_survive_json():
    settings = SolverSettings(method="tsit5", num_steps=4)
    assert SolverSettings.create(settings.to_dict()) == settings


@pytest.mark.parametrize("reverse", [False, True])
def test_a_solve_calls_nothing_back(reverse):
    """A compiled program that did could be kept in no file, and would be compiled by every run."""
    program = jax.make_jaxpr(
        lambda y: solve(lambda t, y, args: -y, y, None, SolverSettings(), reverse=reverse).y
    )
    assert "callback" not in str(program(jnp.ones(3)))


def test_numbers_of_numpy_are_numbers():
    settings = SolverSettings(rtol=np.float32(1e-3), max_steps=np.int64(8), num_steps=np.int32(2))
    plain = json.loads(json.dumps(settings.to_dict()))
    assert plain["max_steps"] == 8 and plain["num_steps"] == 2
    assert plain["rtol"] == pytest.approx(1e-3)
