"""Depthwise 3x3 convolution as nine shifted multiply-adds.

XLA's grouped convolution with a group for each channel is many times slower on a CPU. The gradient
toward the images is the same sum with the kernel turned around, which differentiating the padding
and the slices would not find.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def depthwise_convolve(
    images: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c"]
) -> Float[Array, "b h w c"]:
    """Convolve each channel with its own 3x3 kernel; outside the images is zero."""
    return sum(
        shifted * kernel[row, column][None, None, None, :].astype(images.dtype)
        for (row, column), shifted in _shifts(images)
    )


def _forward(images, kernel):
    return depthwise_convolve(images, kernel), (images, kernel)


def _backward(residuals, cotangent):
    images, kernel = residuals
    # Where the kernel is frozen nothing asks for its gradient, and the compiler drops it.
    taps = [
        jnp.sum(shifted * cotangent, axis=(0, 1, 2), dtype=kernel.dtype)
        for _, shifted in _shifts(images)
    ]
    return depthwise_convolve(cotangent, kernel[::-1, ::-1]), jnp.stack(taps).reshape(kernel.shape)


depthwise_convolve.defvjp(_forward, _backward)


def _shifts(images):
    """The nine neighbors of every pixel with their place in the kernel."""
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for row in range(3):
        for column in range(3):
            yield (row, column), padded[:, row : row + height, column : column + width]
