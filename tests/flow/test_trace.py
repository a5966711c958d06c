import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.flow.trace import draw_noise, exact_trace, hutchinson_trace

MATRIX = jnp.asarray([[1.0, 2.0, 0.5], [-3.0, 0.25, 1.0], [4.0, -1.0, -2.0]])


def linear_field(y):
    return y @ MATRIX


def curved_field(y):
    return jnp.sin(y @ MATRIX) * y


@pytest.fixture
def latents():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 2, 3)), jnp.float32)


def test_exact_trace_of_a_linear_field_is_its_matrix_trace(latents):
    dy, trace = exact_trace(linear_field, latents)
    np.testing.assert_allclose(dy, linear_field(latents), rtol=1e-6)
    np.testing.assert_allclose(trace, np.full((2, 2), -0.75), atol=1e-6)


def test_exact_trace_of_a_curved_field_is_the_sum_of_its_jacobian_diagonal(latents):
    jacobians = jax.vmap(jax.vmap(jax.jacfwd(curved_field)))(latents)
    _, trace = exact_trace(curved_field, latents)
    np.testing.assert_allclose(trace, jnp.trace(jacobians, axis1=-2, axis2=-1), atol=1e-5)


def test_hutchinson_over_all_sign_vectors_averages_to_the_exact_trace(latents):
    signs = jnp.asarray(list(itertools.product([-1.0, 1.0], repeat=3)))
    estimates = [
        hutchinson_trace(curved_field, latents, jnp.broadcast_to(e[None, None], latents.shape))
        for e in signs
    ]
    np.testing.assert_allclose(estimates[0][0], curved_field(latents), rtol=1e-6)
    mean = jnp.mean(jnp.stack([trace for _, trace in estimates]), axis=0)
    np.testing.assert_allclose(mean, exact_trace(curved_field, latents)[1], atol=1e-5)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_noise_has_mean_zero_and_variance_one(kind):
    noise = draw_noise(jax.random.key(0), (100, 100), kind)
    assert abs(noise.mean()) < 0.05 and abs(noise.var() - 1) < 0.05
    assert (jnp.abs(noise) == 1).all() == (kind == "rademacher")


def test_unknown_noise_is_refused():
    with pytest.raises(ValueError, match="'rademacher' or 'gaussian', got 'uniform'"):
        draw_noise(jax.random.key(0), (2,), "uniform")
