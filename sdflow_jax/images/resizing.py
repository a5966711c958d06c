"""Images at the size that a network wants."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


def crop_and_resize(
    images: Float[Array, "b h w 3"],
    size: int | None,
    *,
    crop: tuple[float, float, float] | None = None,
) -> Float[Array, "b p q 3"]:
    """Cut a square out of images and resize it linearly, with antialiasing where it shrinks.

    Args:
      images: any values; the result stays within their range.
      size: side of the result in pixels; None keeps the size.
      crop: (top, left, side) of the square in shares of the image's side, rounded down to whole
        pixels; None takes the whole image.
    """
    if crop is not None:
        top, left, side = (int(share * images.shape[1]) for share in crop)
        images = images[:, top : top + side, left : left + side]
    if size is None or images.shape[1:3] == (size, size):
        return images
    return jax.image.resize(
        images, (images.shape[0], size, size, images.shape[3]), "linear", antialias=True
    )


def take_nearest(images: Float[Array, "b h w c"], size: int) -> Float[Array, "b size size c"]:
    """Reduce square images by taking pixel floor(i h / size), as PyTorch's "nearest" does.

    `jax.image.resize` would take the pixel nearest to the centre. Only for comparisons: what lies
    between the pixels is lost.
    """
    height, width = images.shape[1:3]
    rows, columns = (jnp.arange(size) * side // size for side in (height, width))
    return images[:, rows][:, :, columns]


def average_pool(images: Float[Array, "b h w c"], factor: int) -> Float[Array, "b p q c"]:
    """Means of square groups of `factor` by `factor` pixels."""
    batch, height, width, channels = images.shape
    groups = (batch, height // factor, factor, width // factor, factor, channels)
    return images.reshape(groups).mean((2, 4))


@functools.partial(jax.jit, static_argnames="factor")
def pool_bytes(images: UInt8[Array, "b h w c"], factor: int) -> UInt8[Array, "b p q c"]:
    """8-bit pictures, reduced as by `average_pool` and rounded again."""
    return jnp.rint(average_pool(images.astype(jnp.float32), factor)).astype(jnp.uint8)
