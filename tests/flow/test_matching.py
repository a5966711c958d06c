"""Flow matching: a field trained without solving anything carries latents to noise and back."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sdflow_jax.flow import ConditionalFlow
from tests.flow.small_flow import small_batch, small_flow


def test_field_of_the_right_velocity_has_no_mismatch():
    """A field that is one constant c: paths of displacement c match it, others miss by their difference."""
    flow = small_flow(hidden_sizes=())
    layer = flow.blocks[0].field.layers[0]
    for module in (layer.linear, layer.gate, layer.shift):
        nnx.update(module, jax.tree.map(jnp.zeros_like, nnx.state(module)))
    layer.linear.bias[...] = jnp.full(4, 2.0)  # half of which passes the gate
    flow.blocks[0].sqrt_end_time[...] = jnp.asarray(0.5**0.5)  # T = 1/2
    start, s, _ = small_batch()
    shares = jnp.array([0.2, 0.7])
    found = flow.blocks[0].mismatch(start, start + 0.5, s, shares)
    np.testing.assert_allclose(found, 0.0, atol=1e-6)
    found = flow.blocks[0].mismatch(start, start + 0.8, s, shares)
    np.testing.assert_allclose(found, 0.09, rtol=1e-5)


def test_paths_are_looked_at_where_their_share_says():
    flow = small_flow()
    start, s, _ = small_batch()
    end = start + 1.0
    found = flow.blocks[0].mismatch(start, end, s, jnp.array([0.25, 0.5]))
    end_time = flow.blocks[0].sqrt_end_time[...] ** 2
    for i, share in enumerate((0.25, 0.5)):
        place = start[i : i + 1] + share
        velocity = end_time * flow.blocks[0].field(end_time * share, place, s[i : i + 1])
        np.testing.assert_allclose(found[i], jnp.mean((velocity - 1.0) ** 2), rtol=1e-5)


def test_norms_cannot_shorten_the_paths():
    flow = small_flow()
    w_plus, s, z = small_batch()

    def loss(flow):
        return flow.mismatch(w_plus, s, z, jnp.array([0.3, 0.6]))[0].mean()

    gradients = nnx.grad(loss)(flow)
    assert not any(np.any(x) for x in jax.tree.leaves(nnx.to_pure_dict(gradients["norms"])))
    assert any(np.any(x) for x in jax.tree.leaves(nnx.to_pure_dict(gradients["blocks"])))


def test_flow_of_several_blocks_is_refused():
    w_plus, s, z = small_batch()
    with pytest.raises(ValueError, match="flow of one block, got 2"):
        small_flow(num_blocks=2).mismatch(w_plus, s, z, jnp.zeros(2))


def faces(key, count):
    """Latents in two dimensions around (2, 0) where s is 1, and around (-2, 0) where it is 0."""
    s_key, w_key = jax.random.split(key)
    s = jax.random.bernoulli(s_key, 0.5, (count, 1)).astype(jnp.float32)
    w = 0.5 * jax.random.normal(w_key, (count, 1, 2))
    return w.at[..., 0].add(4.0 * s - 2.0), s


def test_trained_field_transports_to_noise_that_knows_nothing_of_s_and_edits():
    flow = ConditionalFlow(2, 1, (32, 32), rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(flow, optax.adam(5e-3), wrt=nnx.Param)

    @nnx.jit
    def step(flow, optimizer, key):
        data_key, z_key, share_key = jax.random.split(key, 3)
        w, s = faces(data_key, 256)
        z, shares = jax.random.normal(z_key, w.shape), jax.random.uniform(share_key, (256,))

        def loss(flow):
            error, statistics = flow.mismatch(w, s, z, shares)
            return error.mean(), statistics

        gradients, statistics = nnx.grad(loss, has_aux=True)(flow)
        optimizer.update(flow, gradients)
        flow.update_statistics(statistics)

    for key in jax.random.split(jax.random.key(0), 400):
        step(flow, optimizer, key)

    w, s = faces(jax.random.key(1), 1000)
    z = flow.forward(w, s).latents[:, 0]
    for side in (0.0, 1.0):
        np.testing.assert_allclose(z[s[:, 0] == side].mean(0), 0.0, atol=0.25)
    np.testing.assert_allclose(z.std(0), 1.0, atol=0.2)
    turned = flow.inverse(z[:, None], 1.0 - s).latents[:, 0]
    assert np.mean((turned[:, 0] > 0) == (s[:, 0] == 0)) > 0.98
    np.testing.assert_allclose(np.abs(turned[:, 0]).mean(), 2.0, atol=0.25)
