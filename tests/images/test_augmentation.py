import jax
import numpy as np

from sdflow_jax.images.augmentation import mirror, reframe


def _images(count):
    return np.random.default_rng(0).random((count, 8, 8, 3)).astype(np.float32)


def test_about_half_of_the_images_are_mirrored():
    images = _images(64)
    mirrored = np.asarray(mirror(jax.random.key(0), images))
    is_turned = (mirrored == images[:, :, ::-1]).all((1, 2, 3))
    assert 20 < is_turned.sum() < 44
    np.testing.assert_array_equal(mirrored[~is_turned], images[~is_turned])


def test_each_image_is_framed_its_own_way():
    images = _images(3)
    framing = np.float32([[0, 0, 0], [0, 1 / 8, 2 / 8], [np.log(2), 0, 0]])
    same, shifted, scaled = np.asarray(reframe(images, framing))
    np.testing.assert_allclose(same, images[0], atol=1e-6)
    # The frame goes down by a pixel and right by two, and repeats the border.
    np.testing.assert_allclose(shifted[:7, :6], images[1, 1:, 2:], atol=1e-6)
    np.testing.assert_allclose(shifted[7], shifted[6], atol=1e-6)
    # At half the size each pixel of the middle lies between four of the original.
    means = images[2].reshape(4, 2, 4, 2, 3).mean((1, 3))
    np.testing.assert_allclose(scaled[2:6, 2:6], means, atol=1e-6)
