import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdflow_jax.flow.vector_field import VectorField, velocity

DIM, HIDDEN, NUM_CONDITIONS = 3, 5, 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def field_by_definition(field, time, y, s):
    """The ConcatSquash formula as the paper writes it, one context vector [t, s] per example."""
    context = np.concatenate([np.full((len(s), 1), time), s], axis=1)
    for index, layer in enumerate(field.layers):
        if index > 0:
            y = np.tanh(y)
        gate = context @ np.asarray(layer.gate.kernel[...]) + np.asarray(layer.gate.bias[...])
        shift = context @ np.asarray(layer.shift.kernel[...])
        linear = y @ np.asarray(layer.linear.kernel[...]) + np.asarray(layer.linear.bias[...])
        y = linear * sigmoid(gate)[:, None] + shift[:, None]
    return y


def test_field_is_concat_squash_of_time_and_condition():
    field = VectorField(DIM, NUM_CONDITIONS, (HIDDEN,), rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    y, s = random.normal(size=(4, 6, DIM)), random.uniform(size=(4, NUM_CONDITIONS))
    for time in (0.0, 0.7):
        computed = field(jnp.asarray(time), jnp.asarray(y), jnp.asarray(s))
        np.testing.assert_allclose(computed, field_by_definition(field, time, y, s), atol=2e-6)


def test_latents_of_an_example_do_not_see_each_other():
    field = VectorField(DIM, NUM_CONDITIONS, (HIDDEN,), rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    y = jnp.asarray(random.normal(size=(2, 4, DIM)), jnp.float32)
    layers = field.condition(jnp.asarray(random.uniform(size=(2, NUM_CONDITIONS)), jnp.float32))
    moved = velocity(jnp.asarray(0.3), y.at[:, 1].add(1.0), layers)
    unmoved = velocity(jnp.asarray(0.3), y, layers)
    others = np.array([0, 2, 3])
    np.testing.assert_array_equal(moved[:, others], unmoved[:, others])
    assert jnp.abs(moved[:, 1] - unmoved[:, 1]).max() > 1e-2
