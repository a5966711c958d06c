import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax.files import networks
from sdflow_jax.flow import ConditionalFlow, SolverSettings
from tests.flow.small_flow import (
    BATCH,
    DIM,
    NUM_CONDITIONS,
    NUM_STYLES,
    in_float64,
    small_batch,
    small_flow,
)


@functools.lru_cache
def two_block_pass():
    """Forward with log-density, its inverse under the same and under other conditions; one compilation."""
    flow = small_flow(num_blocks=2)
    w, s, noise = small_batch()

    @jax.jit
    def run(w, s, noise):
        forward = flow.forward(w, s, noise=noise)
        back = flow.inverse(forward.latents, s, noise=noise)
        other = flow.inverse(forward.latents, 1 - s)
        return forward, back, other

    return flow, w, *run(w, s, noise)


def test_inverse_undoes_forward_and_its_log_density():
    _, w, forward, back, _ = two_block_pass()
    assert forward.success and back.success
    np.testing.assert_allclose(back.latents, w, atol=2e-4)
    np.testing.assert_allclose(back.delta_logp, -forward.delta_logp, atol=1e-3)


def test_another_condition_leads_elsewhere_without_log_density():
    _, w, _, _, other = two_block_pass()
    assert jnp.abs(other.latents - w).max() > 0.1
    assert other.delta_logp is None and other.batch_statistics is None


def test_work_of_all_blocks_is_counted():
    _, _, forward, _, _ = two_block_pass()
    # Two dopri5 solves: six evaluations a step, and the first one of each.
    assert forward.num_evaluations == 6 * forward.num_steps + 2


def test_passes_leave_the_statistics_alone_and_update_moves_them():
    flow, w, forward, _, _ = two_block_pass()
    before = networks.flatten(flow)
    rows = np.asarray(w).reshape(-1, DIM)
    expected = 0.9 * before["norms/0/mean"] + 0.1 * rows.mean(0)
    moved = flow.moved_statistics(forward.batch_statistics)
    np.testing.assert_allclose(moved[0].mean, expected, atol=1e-6)
    np.testing.assert_array_equal(flow.statistics[0].mean, before["norms/0/mean"])
    copy = nnx.clone(flow)
    copy.update_statistics(forward.batch_statistics)
    for stored, predicted in zip(copy.statistics, moved, strict=True):
        np.testing.assert_array_equal(stored.variance, predicted.variance)


def test_a_pass_without_density_costs_less():
    flow = small_flow(hidden_sizes=(7,), solver={"num_steps": 1})
    w, s, noise = small_batch()

    def cost(**options):
        run = jax.jit(lambda w: flow.forward(w, s, **options)[:2])
        assert (run(w)[1] is None) == (not options)
        return run.lower(w).compile().cost_analysis()["flops"]

    assert 1.4 * cost() < cost(noise=noise) < cost(trace="exact")


def test_log_density_is_the_change_of_variables():
    step = 1e-4
    w, s, _ = small_batch()
    with jax.enable_x64(True):
        # In equal steps every latent has its own map, whatever is solved beside it.
        flow = in_float64(small_flow(solver={"num_steps": 10}))
        latent, s = np.asarray(w[0, 0], float), s[:1].astype(float)
        offsets = np.concatenate([np.zeros((1, DIM)), step * np.eye(DIM), -step * np.eye(DIM)])
        around = jnp.asarray(latent + offsets)[None]  # the latent and its neighbors, as styles
        solution = jax.jit(lambda w: flow.forward(w, s, trace="exact"))(around)
        ahead, behind = np.split(np.asarray(solution.latents[0, 1:]), 2)
        _, log_determinant = np.linalg.slogdet((ahead - behind) / (2 * step))
        np.testing.assert_allclose(solution.delta_logp[0, 0], -log_determinant, atol=1e-6)


def linear_flow(gain, end_time):
    """A flow whose field is y -> gain * y, and whose norms are nearly the identity."""
    flow = small_flow(hidden_sizes=(), end_time=end_time)
    layer = flow.blocks[0].field.layers[0]
    for parameter in jax.tree.leaves(
        nnx.variables(layer), is_leaf=lambda x: isinstance(x, nnx.Param)
    ):
        parameter[...] = jnp.zeros_like(parameter[...])
    layer.linear.kernel[...] = 2 * gain * jnp.eye(DIM)  # the gate is sigmoid(0) = 1/2
    flow.blocks[0].sqrt_end_time[...] = jnp.sqrt(end_time)
    for norm in flow.norms:
        norm.log_scale[...], norm.bias[...] = jnp.zeros(DIM), jnp.zeros(DIM)
        norm.mean[...], norm.variance[...] = jnp.zeros(DIM), jnp.ones(DIM) - norm.epsilon
    return flow


def test_linear_flow_has_the_density_of_a_scaled_normal():
    gain, end_time = 0.8, 1.5
    flow = linear_flow(gain, end_time)
    w, s, noise = small_batch()
    scale = np.exp(-gain * end_time)  # w = scale * z
    expected = np.sum(-0.5 * (np.asarray(w) / scale) ** 2 - 0.5 * np.log(2 * np.pi), axis=(1, 2))
    expected -= NUM_STYLES * DIM * np.log(scale)
    # The field's Jacobian is a multiple of the identity, whose trace any signs estimate exactly.
    log_prob = jax.jit(lambda w: flow.log_prob(w, s, noise=noise))(w)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4)


def test_log_prob_of_a_failed_solve_is_not_a_number():
    flow = small_flow(solver={"max_steps": 1})
    w, s, noise = small_batch()
    assert jnp.isnan(jax.jit(lambda w: flow.log_prob(w, s, noise=noise))(w)).all()


def scalar(flow, w, s, noise):
    """Something that every output of both passes enters."""
    forward = flow.forward(w, s, noise=noise)
    back = flow.inverse(forward.latents, 1 - s, noise=noise)
    return jnp.sum(back.latents**3) + jnp.sum(forward.delta_logp) - 2 * jnp.sum(back.delta_logp)


@pytest.mark.parametrize(
    "adjoint",
    [
        "stored_steps",
        "backsolve",
        *(pytest.param(x, marks=pytest.mark.full) for x in ("recursive_checkpoint", "direct")),
    ],
)
def test_gradients_match_finite_differences(adjoint):
    w, s, noise = small_batch()
    with jax.enable_x64(True):
        settings = dict(rtol=1e-9, atol=1e-9, max_steps=32, adjoint=adjoint)
        flow = in_float64(small_flow(hidden_sizes=(5,), solver=settings))
        graph, params, rest = nnx.split(flow, nnx.Param, ...)
        params, rest = nnx.as_pure(params), nnx.as_pure(rest)

        @functools.partial(jax.value_and_grad, argnums=(0, 1))
        def value(params, s):
            return scalar(nnx.merge(graph, params, rest), w.astype(float), s, noise.astype(float))

        value = jax.jit(value)
        _, gradient = value(params, s.astype(float))
        random = np.random.default_rng(0)
        inputs = (params, s.astype(float))
        # One random direction that every parameter takes part in, then the end time by itself.
        everything = jax.tree.map(lambda x: jnp.asarray(random.normal(size=x.shape)), inputs)
        end_time = jax.tree.map(jnp.zeros_like, inputs)
        end_time[0]["blocks"][0]["sqrt_end_time"] = jnp.ones(())
        for direction in (everything, end_time):
            step = 1e-5
            ahead, behind = (
                value(*jax.tree.map(lambda x, d, h=h: x + h * d, inputs, direction))[0]
                for h in (step, -step)
            )
            slope = sum(
                jnp.sum(g * d)
                for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
            )
            np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-5)


def test_end_time_can_be_held_fixed():
    flow = small_flow(learn_end_time=False, solver={"num_steps": 1})
    w, s, _ = small_batch()
    gradient = nnx.jit(nnx.grad(lambda flow: flow.forward(w, s).latents.sum()))(flow)
    assert gradient["blocks"][0]["sqrt_end_time"][...] == 0


def test_fixed_steps_need_no_tolerance():
    w, s, _ = small_batch()
    flow, fixed_steps = small_flow(), SolverSettings(num_steps=6)
    adaptive, fixed = jax.jit(
        lambda w: [flow.forward(w, s, solver=solver) for solver in (None, fixed_steps)]
    )(w)
    assert fixed.num_steps == 6
    np.testing.assert_allclose(fixed.latents, adaptive.latents, atol=2e-3)


def test_a_network_file_rebuilds_the_flow(tmp_path):
    arguments = {
        "dim": DIM,
        "num_conditions": NUM_CONDITIONS,
        "hidden_sizes": [8],
        "solver": SolverSettings(num_steps=2).to_dict(),
    }
    flow = ConditionalFlow(**arguments, rngs=nnx.Rngs(3))
    networks.save_network(tmp_path / "flow.safetensors", flow, arguments)
    loaded = networks.load_network(tmp_path / "flow.safetensors", expected="ConditionalFlow")
    assert loaded.solver == flow.solver
    for path, array in networks.flatten(flow).items():
        np.testing.assert_array_equal(networks.flatten(loaded)[path], array)


@pytest.mark.parametrize(
    "shapes, message",
    [
        ([(BATCH, NUM_STYLES, DIM + 1), (BATCH, NUM_CONDITIONS)], "built for another style dim"),
        ([(1, BATCH, NUM_STYLES, DIM), (BATCH, NUM_CONDITIONS)], r"shape \(b, n, 4\) or \(n, 4\)"),
        ([(NUM_STYLES, DIM), (BATCH, NUM_CONDITIONS)], r"shape \(2,\) for latents \(3, 4\)"),
        ([(BATCH, NUM_STYLES, DIM), (BATCH, 9)], r"shape \(2, 2\) for latents .* got \(2, 9\)"),
        ([(BATCH, NUM_STYLES, DIM), (1, NUM_CONDITIONS)], r"got \(1, 2\)"),
        (
            [(BATCH, NUM_STYLES, DIM), (BATCH, NUM_CONDITIONS), (BATCH, 1, DIM)],
            "noise must have the latents' shape",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message):
    w, s, *noise = (jnp.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        small_flow().forward(w, s, noise=noise[0] if noise else None)


def test_one_example_is_a_batch_of_one_without_its_axis():
    flow = small_flow(solver={"num_steps": 4})
    w, s, noise = small_batch()

    @jax.jit
    def run(w, s, noise):
        forward = flow.forward(w, s, noise=noise)
        back = flow.inverse(forward.latents, s)
        return forward, back, flow.log_prob(w, s, noise=noise)

    whole, back, log_prob = run(w, s, noise)
    one, one_back, one_log_prob = run(w[0], s[0], noise[0])
    np.testing.assert_allclose(one.latents, whole.latents[0], atol=1e-5)
    np.testing.assert_allclose(one.delta_logp, whole.delta_logp[0], atol=1e-5)
    np.testing.assert_allclose(one_back.latents, back.latents[0], atol=1e-5)
    assert one_back.delta_logp is None
    np.testing.assert_allclose(one_log_prob, log_prob[0], rtol=1e-5)
    assert one.success.shape == one_log_prob.shape == ()
    mapped, _, mapped_log_prob = jax.jit(jax.vmap(run))(w, s, noise)
    np.testing.assert_allclose(mapped.latents, whole.latents, atol=1e-5)
    np.testing.assert_allclose(mapped_log_prob, log_prob, rtol=1e-5)


def test_log_prob_asks_for_noise():
    w, s, _ = small_batch()
    with pytest.raises(ValueError, match="log_prob needs noise"):
        small_flow().log_prob(w, s)


def test_a_pass_takes_a_solver_by_name_or_as_an_object_of_diffrax():
    flow = small_flow()
    w, s, _ = small_batch()
    tsit5 = {"method": "tsit5"}  # and for the rest the flow's own

    @jax.jit
    def run(w):
        passes = [flow.forward(w, s, solver=x) for x in (None, tsit5, diffrax.Tsit5())]
        return *passes, flow.inverse(passes[-1].latents, s, solver=diffrax.Tsit5())

    own, named, given, back = run(w)
    np.testing.assert_allclose(given.latents, named.latents, atol=1e-5)
    assert given.num_evaluations == named.num_evaluations != own.num_evaluations
    np.testing.assert_allclose(back.latents, w, atol=1e-3)


def test_a_mapping_replaces_what_it_names_and_no_more():
    settings = SolverSettings(method="tsit5", num_steps=3)
    changed = settings.changed({"rtol": 1e-7})
    assert changed == SolverSettings(method="tsit5", num_steps=3, rtol=1e-7)
    assert settings.changed(None) == settings
    with pytest.raises(ValueError, match="unknown solver settings steps"):
        settings.changed({"steps": 3})


def test_log_prob_takes_solver_and_statistics_as_a_pass_does():
    flow = small_flow()
    w, s, noise = small_batch()
    other = tuple(x._replace(variance=2 * x.variance) for x in flow.statistics)
    plain = flow.log_prob(w, s, noise=noise)
    exact = flow.log_prob(w, s, noise=noise, solver={"rtol": 1e-7, "atol": 1e-7})
    np.testing.assert_allclose(plain, exact, rtol=1e-3)
    assert np.any(np.asarray(plain) != np.asarray(exact))
    wider = flow.log_prob(w, s, noise=noise, statistics=other)
    assert np.all(np.abs(np.asarray(wider - plain)) > 0.1)
