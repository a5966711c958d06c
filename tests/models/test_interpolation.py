import numpy as np
import pytest

from sdflow_jax.models.interpolation import interpolation_matrix, resize_aligned


def test_corners_keep_their_place_and_ramps_stay_ramps():
    rows, columns = np.meshgrid(np.linspace(0, 1, 3), np.linspace(0, 2, 4), indexing="ij")
    image = np.stack([rows, columns], axis=-1)[None].astype(np.float32)
    result = resize_aligned(image, 7, 9)
    rows, columns = np.meshgrid(np.linspace(0, 1, 7), np.linspace(0, 2, 9), indexing="ij")
    np.testing.assert_allclose(result[0], np.stack([rows, columns], axis=-1), atol=1e-6)


@pytest.mark.parametrize(("size_in", "size_out"), [(4, 8), (188, 112), (5, 1), (1, 3), (6, 6)])
def test_weights_agree_with_numpy(size_in, size_out):
    signal = np.random.default_rng(0).normal(size=size_in)
    points = np.linspace(0, size_in - 1, size_out)
    expected = np.interp(points, np.arange(size_in), signal)
    np.testing.assert_allclose(interpolation_matrix(size_in, size_out) @ signal, expected)
