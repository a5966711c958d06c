import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax import networks
from sdflow_jax.models.discriminator import minibatch_deviation, r1_penalty
from tests.filled_networks import filled_arrays

TINY = {"resolution": 8, "channels": {"4": 4, "8": 3}, "group_size": 1}


@pytest.fixture(scope="module")
def discriminator():
    arrays = filled_arrays("Discriminator", TINY)
    module = nnx.eval_shape(lambda: networks.build("Discriminator", TINY))
    # Equalized layers scale their kernels themselves, so those are of unit variance.
    unit = {key: x / x.std() if key.endswith("kernel") else x for key, x in arrays.items()}
    networks.load_arrays(module, unit, source="test")
    return module


def _images(batch, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, 8, 8, 3)), jnp.float32)


def test_minibatch_deviation_is_the_mean_over_features_of_each_group():
    x = np.random.default_rng(0).normal(size=(8, 2, 2, 3)).astype(np.float32)
    found = minibatch_deviation(jnp.asarray(x), 4)
    assert found.shape == (8, 2, 2, 1)
    for first in (0, 1):  # every second image belongs to the same group
        deviation = np.sqrt(x[first::2].var(axis=0) + 1e-8).mean()
        np.testing.assert_allclose(found[first::2], deviation, rtol=1e-5)


def test_groups_shrink_to_a_divisor_of_the_batch():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2, 2, 3)), jnp.float32)
    np.testing.assert_allclose(minibatch_deviation(x, 4), minibatch_deviation(x, 3))
    np.testing.assert_allclose(minibatch_deviation(x[:1], 4), 1e-4, rtol=1e-3)


def test_r1_is_the_squared_gradient_at_each_image(discriminator):
    @jax.jit
    def measure(images):
        gradient = jax.grad(lambda x: jnp.sum(discriminator(x)))(images)
        step = 1e-3 * gradient / jnp.sqrt(jnp.sum(jnp.square(gradient), (1, 2, 3), keepdims=True))
        rise = (discriminator(images + step) - discriminator(images - step)) / 2e-3
        return rise, r1_penalty(discriminator, images)

    # Straight up the gradient, the score rises by the gradient's length. Two images, in groups of one.
    rise, penalty = measure(_images(2))
    np.testing.assert_allclose(rise, jnp.sqrt(penalty), rtol=2e-2)


def test_images_do_not_matter_to_each_other_without_groups(discriminator):
    scores = jax.jit(discriminator)(_images(4))
    assert scores.shape == (4,)
    assert len(np.unique(scores)) == 4
    np.testing.assert_allclose(jax.jit(discriminator)(_images(4)[:2]), scores[:2], rtol=1e-4)


def test_images_of_another_size_are_rejected(discriminator):
    with pytest.raises(
        ValueError, match=r"images must be \[b, 8, 8, 3\], got shape \(2, 16, 16, 3\)"
    ):
        discriminator(jnp.zeros((2, 16, 16, 3)))
