import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.images.resizing import crop_and_resize, pool_bytes, take_nearest


def test_shrinking_averages_instead_of_skipping():
    stripes = np.tile(np.array([1.0, -1.0], np.float32), 8)[None, None, :, None]
    images = np.broadcast_to(stripes, (1, 16, 16, 3))
    # A pixel of the smaller image covers as many light as dark stripes; the borders cover a little less.
    assert np.abs(np.asarray(crop_and_resize(images, 4))[:, 1:-1, 1:-1]).max() < 1e-6


def test_crop_is_in_shares_of_the_side():
    images = np.arange(256 * 256, dtype=np.float32).reshape(1, 256, 256, 1)
    cropped = crop_and_resize(images, None, crop=(35 / 256, 32 / 256, 188 / 256))
    np.testing.assert_array_equal(cropped, images[:, 35:223, 32:220])


def test_right_size_is_left_alone():
    images = np.ones((1, 8, 8, 3), np.float32)
    assert crop_and_resize(images, 8) is images


@pytest.mark.parametrize("large, kept", [(8, [0, 2, 4, 6]), (6, [0, 1, 3, 4])])
def test_nearest_takes_pytorchs_pixels(large, kept):
    images = np.arange(large**2, dtype=np.float32).reshape(1, large, large, 1)
    resized = take_nearest(jnp.asarray(images), 4)
    np.testing.assert_array_equal(resized, images[:, kept][:, :, kept])


def test_antialiased_resize_keeps_the_mean_and_equal_sizes_are_left_alone():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 3)), jnp.float32)
    assert crop_and_resize(images, 16) is images
    stripes = jnp.broadcast_to(jnp.asarray([1.0, -1.0] * 8)[None, None, :, None], (1, 16, 16, 1))
    assert jnp.abs(crop_and_resize(stripes, 4)).max() < 0.2
    assert jnp.abs(take_nearest(stripes, 4)).max() == 1


def test_pooled_bytes_are_rounded_means():
    columns = np.array([[0, 1, 0, 1], [1, 1, 0, 255]], np.uint8)  # of two by two: 0.75 and 64
    pooled = pool_bytes(columns[None, :, :, None], 2)
    assert pooled.dtype == np.uint8 and pooled.ravel().tolist() == [1, 64]
