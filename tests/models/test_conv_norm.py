import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdflow_jax.models.conv_norm import batch_norm, conv


def test_strided_convolution_is_centered_on_the_first_pixel():
    layer = conv(1, 1, 3, stride=2, rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.arange(9.0).reshape(3, 3, 1, 1)
    image = np.zeros((1, 4, 4, 1), np.float32)
    image[0, 1, 1, 0] = 1.0  # every window holds this pixel, each at another corner
    np.testing.assert_array_equal(layer(image)[0, :, :, 0], [[8.0, 6.0], [2.0, 0.0]])


def test_fresh_kernel_has_the_variance_of_he():
    kernel = conv(16, 32, 3, rngs=nnx.Rngs(0)).kernel[...]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2.0 / (16 * 9)), rtol=0.05)


def test_statistics_move_by_a_tenth():
    norm = batch_norm(2, rngs=nnx.Rngs(0))
    x = np.asarray(jax.random.normal(jax.random.key(0), (50, 2))) * 3.0 + 1.0
    norm(x)
    np.testing.assert_allclose(norm.mean[...], 0.1 * x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * x.var(axis=0), rtol=1e-5)
