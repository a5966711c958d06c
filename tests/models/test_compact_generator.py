"""The small generator and its pyramid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sdflow_jax.images.resizing import average_pool
from sdflow_jax.models.compact_generator import CompactGenerator
from sdflow_jax.models.mobile_stylegan import MobileStyleGAN

CHANNELS = {"4": 8, "8": 8, "16": 8, "32": 4}


@pytest.fixture(scope="module")
def generator():
    return CompactGenerator(
        32, 6, num_styles=18, channels=CHANNELS, num_mapping_layers=2, rngs=nnx.Rngs(0)
    )


@pytest.fixture(scope="module")
def codes():
    return jax.random.normal(jax.random.key(1), (2, 18, 6))


def test_styles_without_fine_ones_are_refused():
    with pytest.raises(ValueError, match="num_styles must be more than 8"):
        CompactGenerator(32, 6, num_styles=8, channels=CHANNELS, rngs=nnx.Rngs(0))


def test_stopping_early_gives_the_smaller_pictures_of_the_pyramid(generator, codes):
    pictures = generator.pyramid(codes)
    assert [x.shape for x in pictures] == [(2, r, r, 3) for r in (8, 16, 32)]
    for picture in pictures:
        early = generator.synthesize(codes, resolution=picture.shape[1])
        np.testing.assert_allclose(early, picture, atol=1e-5)


def test_color_style_changes_every_picture(generator, codes):
    moved = codes.at[:, generator.color_style].add(1.0)
    for before, after in zip(generator.pyramid(codes), generator.pyramid(moved), strict=True):
        assert not np.allclose(before, after)


def test_refuses_other_codes_and_resolutions(generator, codes):
    with pytest.raises(ValueError, match=r"w_plus must be \[b, 18, 6\]"):
        generator.synthesize(codes[:, :10])
    with pytest.raises(ValueError, match=r"one of \[8, 16, 32\] for this 32px generator, got 64"):
        generator.synthesize(codes, resolution=64)


def test_mobile_stylegan_read_at_a_smaller_size_is_the_mean_of_its_pixels():
    network = MobileStyleGAN(
        32, 6, channels={4: 8, 8: 8, 16: 4}, num_mapping_layers=1, rngs=nnx.Rngs(2)
    )
    codes = network.broadcast(jax.random.normal(jax.random.key(3), (2, 6)))
    whole = network.synthesize(codes)
    assert whole.shape == (2, 32, 32, 3)
    for size in (16, 8):
        small = network.synthesize(codes, resolution=size)
        np.testing.assert_allclose(small, average_pool(whole, 32 // size), atol=1e-5)
    with pytest.raises(
        ValueError, match=r"one of \[4, 8, 16, 32\] for this 32px generator, got 64"
    ):
        network.synthesize(codes, resolution=64)


def test_reduced_precision_gives_float32_images(generator, codes):
    pictures = generator.pyramid(codes, dtype=jnp.bfloat16)
    assert all(x.dtype == jnp.float32 for x in pictures)
    plain = generator.synthesize(codes)
    assert jnp.abs(pictures[-1] - plain).mean() < 0.02 * jnp.abs(plain).mean()
