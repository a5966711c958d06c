import jax
import jax.numpy as jnp
import numpy as np

from sdflow_jax.models import resample

_TAPS = np.array([1, 3, 3, 1])


def _draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _filtered(images, before, after):
    """The separable filter, densely and in numpy: out[i] = sum_t taps[t] in[i + t - before] / 4."""
    for axis in (1, 2):
        padding = [(before, after) if i == axis else (0, 0) for i in range(4)]
        padded = np.pad(images, padding)
        size = padded.shape[axis] - 3
        taken = [padded.take(range(t, t + size), axis=axis) for t in range(4)]
        images = sum(tap * part for tap, part in zip(_TAPS, taken, strict=True)) / 4
    return images


def _zeros_inserted(images):
    batch, height, width, channels = images.shape
    grown = np.zeros((batch, 2 * height, 2 * width, channels), np.float32)
    grown[:, ::2, ::2] = images
    return grown


def test_upsampling_is_the_filter_on_inserted_zeros():
    images = _draw((2, 4, 3, 2))
    expected = _filtered(_zeros_inserted(images), 2, 1)
    np.testing.assert_allclose(resample.upsample(images), expected, atol=1e-6)


def test_upsampling_convolution_is_transposed_convolution_then_filter():
    images, kernel = _draw((2, 4, 3, 5)), _draw((3, 3, 5, 2), seed=1)
    transposed = np.zeros((2, 9, 7, 2), np.float32)
    for row in range(3):
        for column in range(3):
            tap = np.einsum("bhwi,io->bhwo", images, kernel[row, column])
            transposed[:, row : row + 8 : 2, column : column + 6 : 2] += tap
    expected = _filtered(transposed, 1, 1)
    found = resample.upsample_convolve(images, kernel)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_kernel_gradient_of_the_upsampling_convolution():
    # Bilinear in image and kernel, so the gradient of <y, f(x, k)> toward k, times k, is <y, f(x, k)>.
    images, kernel, weights = _draw((1, 3, 3, 2)), _draw((3, 3, 2, 2), 1), _draw((1, 6, 6, 2), 2)

    def product(kernel):
        return jnp.sum(weights * resample.upsample_convolve(images, kernel))

    value, gradient = jax.jit(jax.value_and_grad(product))(kernel)
    other = _draw((3, 3, 2, 2), 3)
    np.testing.assert_allclose(jnp.sum(gradient * kernel), value, rtol=1e-4)
    np.testing.assert_allclose(jnp.sum(gradient * other), product(other), rtol=1e-4)
