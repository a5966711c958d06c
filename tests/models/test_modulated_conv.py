import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax.models.modulated_conv import StyledConv, ToRGB
from sdflow_jax.models.resample import convolve, upsample_convolve


def _draw(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("double", [False, True])
def test_shared_kernel_equals_a_kernel_per_image(double):
    layer = StyledConv(3, 4, 8 if double else 4, 5, double=double, rngs=nnx.Rngs(0))
    layer.bias[...] = _draw((4,), 3)
    x, w = _draw((2, 4, 4, 3), 1), _draw((2, 5), 2)

    style = layer.modulation(w)
    rows = []
    for i in range(2):
        # As the paper writes it (equations 1 and 3): modulate the kernel, divide by its norm per output channel.
        kernel = layer.kernel[...] * style[i][None, None, :, None] / np.sqrt(9 * 3)
        kernel = kernel / jnp.sqrt(
            jnp.sum(jnp.square(kernel), axis=(0, 1, 2), keepdims=True) + 1e-8
        )
        rows.append((upsample_convolve if double else convolve)(x[i : i + 1], kernel))
    before = jnp.concatenate(rows) + layer.bias[...][None, None, None, :]
    expected = np.sqrt(2) * jnp.where(before > 0, before, 0.2 * before)
    np.testing.assert_allclose(layer(x, w, None), expected, atol=1e-5)


def test_noise_is_added_before_the_bias_times_its_strength():
    layer = StyledConv(3, 4, 4, 5, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.full(4, 100.0)  # so that the rectifier passes everything
    layer.noise_strength[...] = jnp.asarray(0.5)
    x, w = _draw((2, 4, 4, 3), 1), _draw((2, 5), 2)
    noise = layer.noise[...][None]
    difference = layer(x, w, noise) - layer(x, w, None)
    expected = jnp.broadcast_to(np.sqrt(2) * 0.5 * noise[..., None], difference.shape)
    np.testing.assert_allclose(difference, expected, atol=5e-5)


def test_colors_are_modulated_and_not_demodulated():
    layer = ToRGB(3, 5, rngs=nnx.Rngs(0))
    x, w = _draw((2, 4, 4, 3), 1), _draw((2, 5), 2)
    style = layer.modulation(w) / np.sqrt(3)
    expected = jnp.einsum("bhwi,bi,ic->bhwc", x, style, layer.kernel[...])
    np.testing.assert_allclose(layer(x, w), expected, atol=1e-6)
