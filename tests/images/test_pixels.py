import jax
import numpy as np
import pytest

from sdflow_jax.images.pixels import to_bytes, to_bytes_on_device, to_signed

EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


def test_bytes_come_back():
    np.testing.assert_array_equal(to_bytes(to_signed(EVERY_BYTE)), EVERY_BYTE)


def test_bytes_stay_what_they_are_and_what_is_no_picture_is_refused():
    assert to_bytes(EVERY_BYTE) is EVERY_BYTE
    with pytest.raises(ValueError, match="got int64"):
        to_bytes(EVERY_BYTE.astype(np.int64))
    assert to_bytes(np.array([1.0, np.nan])).tolist() == [255, 0]


def test_pixels_are_clipped_and_rounded_to_even_alike_on_host_and_device():
    between = (np.arange(-2, 257) + 0.5) / 127.5 - 1
    images = np.concatenate([[-7, 7], between]).astype(np.float32).reshape(1, 1, -1, 1)
    found = to_bytes(images)
    assert found.ravel()[:2].tolist() == [0, 255]
    assert np.abs(found.ravel()[2:] - between * 127.5 - 127.5)[2:-2].max() <= 0.5 + 1e-4
    np.testing.assert_array_equal(jax.jit(to_bytes_on_device)(images), found)
