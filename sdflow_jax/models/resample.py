"""Doubling the resolution with the filter [1, 3, 3, 1], and the convolution that it is fused with.

StyleGAN2 (Karras et al. 2020, appendix B) smooths every change of resolution with this separable
filter. A depthwise convolution is the obvious way to do it and a slow one: on CPU it costs more
than the convolutions around it. Here the filter is a sum of shifted images, taken on the four
phases (even and odd rows and columns) of the high-resolution image, so nothing is ever computed on
inserted zeros: a 3x3 convolution of the zero-inserted image is one 2x2 convolution of the small
image that returns the four phases as channels; they are smoothed as they are and interleaved last.

Images are [b, h, w, c], kernels [kh, kw, c_in, c_out], and everything outside an image is zero.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_ROWS, _COLUMNS = 1, 2


def convolve(
    images: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h w o"]:
    """Convolve with an odd, square kernel at stride 1, keeping the size of the images."""
    margin = kernel.shape[0] // 2
    return _convolve(images, kernel, margin, margin)


def upsample(images: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Double the resolution: 0.75 of the nearest pixel and 0.25 of the next nearest, per axis."""
    for axis in (_ROWS, _COLUMNS):
        before, here, after = _neighbors(images, axis)
        even, odd = 0.75 * here + 0.25 * before, 0.75 * here + 0.25 * after
        images = _interleave(even, odd, axis)
    return images


def upsample_convolve(
    images: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]
) -> Float[Array, "b 2*h 2*w o"]:
    """Convolve transposed, 3x3 at stride 2, then smooth with [1, 3, 3, 1] / 4 per axis.

    The kernel is applied as PyTorch's `conv_transpose2d` applies its weight: tap (r, c) carries
    pixel (y, x) to (2 y + r, 2 x + c). The first and last row and column of that image fall to the
    smoothing.
    """
    channels = kernel.shape[-1]
    # Tap t = 2 q + a of the kernel belongs to phase a and reads the pixel q steps back.
    kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    kernel = kernel.reshape(2, 2, 2, 2, *kernel.shape[2:])[::-1, :, ::-1]
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, -1, 4 * channels)
    grown = jnp.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)))
    phases = _convolve(grown, kernel, 1, 0)  # [b, h + 1, w + 1, 4 o]
    even_even, even_odd, odd_even, odd_odd = jnp.split(phases, 4, axis=-1)  # named row_column
    top_even, bottom_even = _smooth_grown_phases(even_even, odd_even, _ROWS)
    top_odd, bottom_odd = _smooth_grown_phases(even_odd, odd_odd, _ROWS)
    top = jnp.stack(_smooth_grown_phases(top_even, top_odd, _COLUMNS), axis=3)
    bottom = jnp.stack(_smooth_grown_phases(bottom_even, bottom_odd, _COLUMNS), axis=3)
    batch, height, width = images.shape[:3]
    return jnp.stack([top, bottom], axis=2).reshape(batch, 2 * height, 2 * width, channels)


def _convolve(images: Array, kernel: Array, before: int, after: int) -> Array:
    """Convolve at stride 1 and keep the size: `before + after` is the kernel's size less one.

    XLA's CPU backend computes a kernel's gradient 10 to 20 times slower where the size changes (jax
    0.10.2), hence the callers that want another size pad or cut the images themselves.
    """
    return jax.lax.conv_general_dilated(
        images,
        kernel.astype(images.dtype),
        window_strides=(1, 1),
        padding=((before, after), (before, after)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _smooth_grown_phases(even: Array, odd: Array, axis: int) -> tuple[Array, Array]:
    """Smooth 2 n + 1 pixels, given as phases of n + 1 (the last odd one is surplus), to 2 n."""
    n = even.shape[axis] - 1
    odd = jax.lax.slice_in_dim(odd, 0, n, axis=axis)
    even_here, even_after = _window(even, 0, n, axis), _window(even, 1, n, axis)
    odd_before, odd_here, odd_after = _neighbors(odd, axis)
    return (
        0.25 * (odd_before + even_after) + 0.75 * (even_here + odd_here),
        0.25 * (even_here + odd_after) + 0.75 * (odd_here + even_after),
    )


def _neighbors(images: Array, axis: int) -> tuple[Array, Array, Array]:
    """For each pixel the one before, itself, and the one after."""
    n = images.shape[axis]
    return _window(images, -1, n, axis), images, _window(images, 1, n, axis)


def _window(images: Array, start: int, length: int, axis: int) -> Array:
    """Pixels start ... start + length - 1 along an axis, zero outside the image."""
    missing_before, missing_after = max(0, -start), max(0, start + length - images.shape[axis])
    padding = [(missing_before, missing_after) if i == axis else (0, 0) for i in range(images.ndim)]
    start += missing_before
    return jax.lax.slice_in_dim(jnp.pad(images, padding), start, start + length, axis=axis)


def _interleave(even: Array, odd: Array, axis: int) -> Array:
    """Images of twice the size along an axis, of their even and their odd pixels."""
    shape = even.shape
    return jnp.stack([even, odd], axis=axis + 1).reshape(
        *shape[:axis], 2 * shape[axis], *shape[axis + 1 :]
    )
