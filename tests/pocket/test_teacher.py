"""The teacher's layers and alignment against plain re-computations."""

import jax
import numpy as np
from flax import nnx
from PIL import Image

from sdflow_jax.pocket.teacher import DoublingConv, align, teacher_latents


def test_latents_are_those_of_their_seeds():
    latents = teacher_latents(np.array([3, 61_000]))
    expected = np.random.default_rng(61_000).standard_normal(100).astype(np.float32)
    np.testing.assert_array_equal(latents[1], expected)
    assert latents.shape == (2, 100)


def test_doubling_is_a_transposed_convolution_with_stride_two():
    layer = DoublingConv(3, 2, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(1, 5, 4, 3)).astype(np.float32)
    kernel = np.asarray(layer.kernel[...])
    # Every input pixel adds its kernel to the output, from pixel (2i - 1, 2j - 1) on.
    expected = np.zeros((12, 10, 2))
    for i in range(5):
        for j in range(4):
            expected[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum(
                "c,pqco->pqo", x[0, i, j], kernel
            )
    np.testing.assert_allclose(layer(x)[0], expected[1:-1, 1:-1], atol=1e-6)


def test_unit_alignment_leaves_a_render_as_it_is():
    renders = jax.random.uniform(jax.random.key(0), (2, 64, 64, 3), minval=-1.0)
    chips = align(renders, np.tile(np.float32([1, 0, 0, 0]), (2, 1)))
    np.testing.assert_allclose(chips, renders, atol=1e-6)


def test_alignment_moves_turns_and_scales_like_an_affine_warp():
    ramp = np.linspace(-0.9, 0.9, 64, dtype=np.float32)
    # Smooth in both directions, so that two bicubic interpolations agree closely.
    render = np.sin(2 * ramp[:, None]) * np.cos(3 * ramp[None, :])
    a, b, x, y = 0.6, 0.2, 14.0, 7.0
    (chip,) = align(np.tile(render[None, :, :, None], 3), np.float32([[a, b, x, y]]))
    # PIL counts from pixel corners, `align` from pixel centers.
    columns = (a, -b, x + 0.5 - 0.5 * (a - b))
    rows = (b, a, y + 0.5 - 0.5 * (a + b))
    expected = Image.fromarray(render).transform(
        (64, 64), Image.Transform.AFFINE, (*columns, *rows), Image.Resampling.BICUBIC
    )
    inside = np.asarray(expected) != 0.0
    assert inside.mean() > 0.5
    np.testing.assert_allclose(
        np.asarray(chip)[..., 0][inside], np.asarray(expected)[inside], atol=0.02
    )
