"""The pocket world's face source: a small DCGAN whose faces are cut out by stored alignments.

The network is the DCGAN generator of Radford et al. (2016, https://arxiv.org/abs/1511.06434) at 64 pixels, with its
batch norms folded into the convolutions. Its weights come from a published checkpoint; see MODEL_CARD.md.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

RENDER_SIZE = 64
LATENT_DIM = 100


def teacher_latents(seeds: np.ndarray) -> Float[np.ndarray, "b 100"]:
    """The latent of every seed: `numpy.random.default_rng(seed).standard_normal(100)`."""
    draws = [np.random.default_rng(int(seed)).standard_normal(LATENT_DIM) for seed in seeds]
    return np.asarray(draws, np.float32).reshape(len(draws), LATENT_DIM)


class DoublingConv(nnx.Module):
    """Transposed 4x4 convolution of stride 2: one dense 2x2 convolution per parity of the output pixel.

    Output row 2i reads input rows i-1 and i, row 2i+1 reads rows i and i+1; columns alike. Computing the four
    parities side by side and interleaving them avoids multiplying by the zeros of a dilated input.
    """

    def __init__(self, features_in: int, features_out: int, *, rngs: nnx.Rngs):
        self.kernel = nnx.Param(
            nnx.initializers.normal(0.02)(rngs.params(), (4, 4, features_in, features_out))
        )
        self.bias = nnx.Param(jnp.zeros(features_out))

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b 2*h 2*w o"]:
        batch, height, width, _ = x.shape
        kernel = self.kernel[...]
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        rows = []
        for row in (0, 1):
            columns = []
            for column in (0, 1):
                # Taps that meet this parity, the one for the earlier input pixel first: 3, 1 for even and 2, 0 for odd.
                taps = kernel[3 - row :: -2, 3 - column :: -2]
                window = padded[:, row : row + height + 1, column : column + width + 1]
                columns.append(
                    jax.lax.conv_general_dilated(
                        window, taps, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
                    )
                )
            rows.append(jnp.stack(columns, axis=3))  # [b, h, w, 2, o]
        y = jnp.stack(rows, axis=2)  # [b, h, 2, w, 2, o]
        return y.reshape(batch, 2 * height, 2 * width, -1) + self.bias[...][None, None, None, :]


class FaceTeacher(nnx.Module):
    """DCGAN generator: 100 Gaussian numbers to a 64x64 picture of a head."""

    def __init__(self, widths: tuple[int, ...] = (512, 256, 128, 64), *, rngs: nnx.Rngs):
        self.widths = tuple(widths)
        self.root = nnx.Linear(LATENT_DIM, 16 * self.widths[0], rngs=rngs)
        outputs = (*self.widths[1:], 3)
        self.doublings = nnx.List(
            [DoublingConv(i, o, rngs=rngs) for i, o in zip(self.widths, outputs, strict=True)]
        )

    def __call__(self, z: Float[Array, "b 100"]) -> Float[Array, "b 64 64 3"]:
        """Render latents drawn from N(0, I) to images in [-1, 1]."""
        x = jax.nn.relu(self.root(z)).reshape(z.shape[0], 4, 4, self.widths[0])
        *inner, last = self.doublings
        for doubling in inner:
            x = jax.nn.relu(doubling(x))
        return jnp.tanh(last(x))


def _cubic_weights(fraction: Float[Array, "..."]) -> Float[Array, "... 4"]:
    """Catmull-Rom weights of the pixels at -1, 0, 1 and 2 for a position `fraction` after pixel 0."""
    t = fraction[..., None]
    return jnp.concatenate(
        [
            ((-0.5 * t + 1.0) * t - 0.5) * t,
            (1.5 * t - 2.5) * t * t + 1.0,
            ((-1.5 * t + 2.0) * t + 0.5) * t,
            (0.5 * t - 0.5) * t * t,
        ],
        axis=-1,
    )


def _sample_bicubic(
    image: Float[Array, "h w c"], rows: Float[Array, "p"], columns: Float[Array, "p"]
):
    """Values of one image at real pixel positions, mirrored beyond its edges."""
    height, width, _ = image.shape

    def mirrored(index, size):
        index = jnp.abs(index) % (2 * size - 2)
        return jnp.where(index >= size, 2 * size - 2 - index, index)

    row, column = jnp.floor(rows), jnp.floor(columns)
    offsets = jnp.arange(-1, 3)
    row_index = mirrored(row.astype(jnp.int32)[:, None] + offsets[None, :], height)  # [p, 4]
    column_index = mirrored(column.astype(jnp.int32)[:, None] + offsets[None, :], width)
    taps = image[row_index[:, :, None], column_index[:, None, :]]  # [p, 4, 4, c]
    return jnp.einsum(
        "pijc,pi,pj->pc", taps, _cubic_weights(rows - row), _cubic_weights(columns - column)
    )


def align(
    renders: Float[Array, "b h w 3"], alignments: Float[Array, "b 4"], size: int = RENDER_SIZE
) -> Float[Array, "b {size} {size} 3"]:
    """Cut an upright face chip out of every render.

    Args:
      renders: images in [-1, 1].
      alignments: per image (a, b, x, y): chip pixel (u, v) shows render pixel (a u - b v + x, b u + a v + y),
        a similarity transform, where the first coordinate counts columns and the second rows.
      size: edge of the square chips.

    Returns:
      Chips in [-1, 1].
    """
    v, u = jnp.meshgrid(
        jnp.arange(size, dtype=jnp.float32), jnp.arange(size, dtype=jnp.float32), indexing="ij"
    )
    u, v = u.reshape(1, -1), v.reshape(1, -1)
    a, b, x, y = (alignments[:, i, None] for i in range(4))
    chips = jax.vmap(_sample_bicubic)(renders, b * u + a * v + y, a * u - b * v + x)
    return jnp.clip(chips.reshape(len(renders), size, size, 3), -1.0, 1.0)


def to_uint8(images: Float[Array, "*shape"]) -> Array:
    """Round images in [-1, 1] to bytes."""
    return jnp.clip(jnp.round((images + 1.0) * 127.5), 0, 255).astype(jnp.uint8)
