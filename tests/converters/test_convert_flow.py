"""SDFlow's and StyleFlow's flows against recorded outputs of the original code."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from converters import flow as converter
from converters.errors import CheckpointError
from sdflow_jax.files import networks
from sdflow_jax.flow import SolverSettings
from sdflow_jax.flow.trace import hutchinson_trace
from sdflow_jax.flow.vector_field import velocity
from tests.flow.small_flow import in_float64
from tests.golden.golden_weights import load_case

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "flow"

large = pytest.mark.full


def converted(state_dict):
    name, arguments, arrays = converter.convert(state_dict)
    flow = nnx.eval_shape(lambda: networks.build(name, arguments))
    networks.load_arrays(flow, arrays, source="golden case")
    return flow


def inputs(arrays, dtype):
    x, z, context, forward_noise, reverse_noise = (
        jnp.asarray(arrays[name], dtype)
        for name in ("x", "z_for_reverse", "context", "e_forward", "e_reverse")
    )
    return x, z, context.reshape(len(x), -1), forward_noise, reverse_noise


def passes(flow, arrays, dtype, solver):
    x, z, s, forward_noise, reverse_noise = inputs(arrays, dtype)

    @jax.jit
    def run(x, z, s):
        forward = flow.forward(x, s, noise=forward_noise, solver=solver)
        moved = flow.moved_statistics(forward.batch_statistics)
        return {
            "eval.forward": forward,
            "train.forward": forward,  # upstream normalises by the moving statistics there too
            "eval.reverse": flow.inverse(z, s, noise=reverse_noise, solver=solver),
            "eval.reverse_nologp": flow.inverse(z, s, solver=solver),
            "train.reverse_after_forward": flow.inverse(
                z, s, noise=reverse_noise, statistics=moved, solver=solver
            ),
        }, moved

    return run(x, z, s)


def check_passes(results, arrays, *, latents, density):
    for name, result in results.items():
        if not any(key.startswith(name + ".") for key in arrays):
            continue
        assert result.success
        end = "z" if name.endswith(".forward") else "x"
        np.testing.assert_allclose(
            result.latents, arrays[f"{name}.{end}|exact"], rtol=0, atol=latents, err_msg=name
        )
        if result.delta_logp is not None:
            expected = arrays[f"{name}.delta_logp|exact"][..., 0]
            np.testing.assert_allclose(
                result.delta_logp, expected, rtol=0, atol=density, err_msg=name
            )


@pytest.mark.parametrize(
    "name",
    [
        "small_two_blocks",
        "sdflow_c3",
        pytest.param("sdflow_c3_T0.7", marks=large),
        pytest.param("styleflow_c17", marks=large),
    ],
)
def test_recorded_flow_is_reproduced(name):
    _, state_dict, arrays = load_case(GOLDEN / name)
    flow = converted(state_dict)
    x, _, s, noise, _ = inputs(arrays, jnp.float32)
    for index, block in enumerate(flow.blocks):
        layers = block.field.condition(s)
        for time in ("0", "0.37", "1"):
            dy, trace = hutchinson_trace(
                lambda y, t=float(time), layers=layers: velocity(jnp.asarray(t), y, layers),
                x,
                noise,
            )
            # Ten times what float32 differs from float64 by.
            key = f"vf.block{index}.t{time}"
            np.testing.assert_allclose(dy, arrays[f"{key}.dy"], rtol=0, atol=2e-5)
            np.testing.assert_allclose(trace, arrays[f"{key}.eJe"], rtol=0, atol=3e-4)
    results, moved = passes(flow, arrays, jnp.float32, SolverSettings())
    # Ten times the error that upstream's own solver makes at these tolerances.
    check_passes(results, arrays, latents=1e-3, density=2e-2)
    for index, statistics in enumerate(moved):
        key = f"train.after_forward.chain.{2 * index}.running"
        if f"{key}_mean|exact" in arrays:
            np.testing.assert_allclose(statistics.mean, arrays[f"{key}_mean|exact"], atol=1e-5)
            np.testing.assert_allclose(statistics.variance, arrays[f"{key}_var|exact"], atol=1e-5)


@pytest.mark.parametrize("name", ["small_two_blocks", pytest.param("sdflow_c3", marks=large)])
def test_recorded_flow_is_reproduced_exactly_in_float64(name):
    _, state_dict, arrays = load_case(GOLDEN / name)
    with jax.enable_x64(True):
        solver = SolverSettings(rtol=1e-9, atol=1e-9, max_steps=256)
        results, _ = passes(in_float64(converted(state_dict)), arrays, jnp.float64, solver)
        check_passes(results, arrays, latents=1e-6, density=1e-4)


@pytest.fixture(scope="module")
def small_state_dict():
    return load_case(GOLDEN / "small_two_blocks").state_dict


def test_arguments_come_from_the_shapes(small_state_dict):
    assert converter.matches(small_state_dict)
    name, arguments, _ = converter.convert(small_state_dict)
    assert name == "ConditionalFlow"
    assert arguments == {
        "dim": 64,
        "num_conditions": 3,
        "hidden_sizes": [32, 48],
        "num_blocks": 2,
    }


def test_restoring_gives_back_every_bit(small_state_dict):
    _, arguments, arrays = converter.convert(small_state_dict)
    restored = converter.restore(arguments, arrays)
    assert restored.keys() == small_state_dict.keys()
    for key, array in small_state_dict.items():
        assert restored[key].shape == array.shape, key
        np.testing.assert_array_equal(restored[key], array, err_msg=key)


def test_prefixes_of_parallel_training_are_removed(small_state_dict):
    wrapped = {"state_dict": {f"module.{key}": x for key, x in small_state_dict.items()}}
    assert converter.matches(wrapped)
    _, _, arrays = converter.convert(wrapped)
    expected = converter.convert(small_state_dict)[2]
    assert arrays.keys() == expected.keys()


def test_a_missing_and_a_mis_shaped_key_are_named(small_state_dict):
    broken = dict(small_state_dict)
    del broken["chain.3.odefunc.diffeq.layers.1._layer.bias"]
    broken["chain.4.bias"] = np.zeros(7, np.float32)
    with pytest.raises(CheckpointError) as caught:
        converter.convert(broken)
    assert "- chain.3.odefunc.diffeq.layers.1._layer.bias" in str(caught.value)
    assert "! chain.4.bias" in str(caught.value)


def test_entries_that_are_not_finite_are_refused(small_state_dict):
    broken = small_state_dict | {"chain.0.weight": np.full(64, np.nan, np.float32)}
    with pytest.raises(CheckpointError, match="chain.0.weight has infinite or undefined"):
        converter.convert(broken)


def test_another_kind_of_layer_is_refused(small_state_dict):
    other = {k: x for k, x in small_state_dict.items() if "_hyper_gate" not in k}
    with pytest.raises(CheckpointError, match="expected ConcatSquash layers"):
        converter.convert(other)
