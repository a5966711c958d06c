import jax.numpy as jnp
import numpy as np

from sdflow_jax.flow.moving_batch_norm import MovingBatchNorm, Statistics, batch_statistics

DIM = 3


def lively_norm():
    norm = MovingBatchNorm(DIM)
    norm.log_scale[...] = jnp.asarray([0.3, -0.2, 0.1])
    norm.bias[...] = jnp.asarray([1.0, 0.0, -1.0])
    norm.mean[...] = jnp.asarray([0.5, -0.5, 2.0])
    norm.variance[...] = jnp.asarray([0.5, 1.0, 4.0])
    return norm


def latents():
    return jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, DIM)), jnp.float32)


def test_forward_normalizes_by_the_moving_statistics():
    norm, x = lively_norm(), latents()
    y, log_determinant = norm.forward(x, norm.statistics)
    factor = np.exp([0.3, -0.2, 0.1]) / np.sqrt(np.array([0.5, 1.0, 4.0]) + 1e-4)
    expected = (np.asarray(x) - [0.5, -0.5, 2.0]) * factor + [1.0, 0.0, -1.0]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(log_determinant, np.log(factor).sum(), atol=1e-5)


def test_inverse_undoes_forward():
    norm, x = lively_norm(), latents()
    y, log_determinant = norm.forward(x, norm.statistics)
    back, inverse_log_determinant = norm.inverse(y, norm.statistics)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_allclose(inverse_log_determinant, -log_determinant, rtol=1e-6)


def test_move_takes_a_tenth_of_the_way_to_the_batch_with_unbiased_variance():
    norm, x = lively_norm(), latents()
    rows = np.asarray(x).reshape(-1, DIM)
    norm.move(batch_statistics(x))
    mean = 0.9 * np.array([0.5, -0.5, 2.0]) + 0.1 * rows.mean(0)
    variance = 0.9 * np.array([0.5, 1.0, 4.0]) + 0.1 * rows.var(0, ddof=1)
    np.testing.assert_allclose(norm.mean[...], mean, atol=1e-6)
    np.testing.assert_allclose(norm.variance[...], variance, atol=1e-6)
    assert norm.num_updates[...] == 1


def test_moved_changes_nothing():
    norm = lively_norm()
    norm.moved(Statistics(jnp.zeros(DIM), jnp.zeros(DIM)))
    np.testing.assert_array_equal(norm.mean[...], [0.5, -0.5, 2.0])
    assert norm.num_updates[...] == 0


def test_single_latent_moves_the_mean_and_leaves_the_variance():
    norm, x = lively_norm(), latents()[:1, :1]
    norm.move(batch_statistics(x))
    mean = 0.9 * np.array([0.5, -0.5, 2.0]) + 0.1 * np.asarray(x)[0, 0]
    np.testing.assert_allclose(norm.mean[...], mean, atol=1e-6)
    np.testing.assert_array_equal(norm.variance[...], np.float32([0.5, 1.0, 4.0]))
