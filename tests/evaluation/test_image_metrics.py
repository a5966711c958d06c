"""PSNR and MS-SSIM against slow re-computations in NumPy."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from sdflow_jax.evaluation.image_metrics import ms_ssim, psnr


def faces(seed, size=64):
    return np.random.default_rng(seed).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)


def windowed(x):
    # The filter's window of eleven pixels; only windows inside the image count.
    for axis in (0, 1):
        x = gaussian_filter1d(x, 1.5, axis=axis, radius=5)
    return x[5:-5, 5:-5]


def slow_ms_ssim(a, b, weights):
    a, b = (a.astype(np.float64) + 1) / 2, (b.astype(np.float64) + 1) / 2
    result = 1.0
    for scale, weight in enumerate(weights):
        mu_a, mu_b = windowed(a), windowed(b)
        var_a, var_b = windowed(a * a) - mu_a**2, windowed(b * b) - mu_b**2
        covariance = windowed(a * b) - mu_a * mu_b
        value = (2 * covariance + 9e-4) / (var_a + var_b + 9e-4)
        if scale == len(weights) - 1:
            value = value * (2 * mu_a * mu_b + 1e-4) / (mu_a**2 + mu_b**2 + 1e-4)
        result *= value.mean() ** weight
        half = (a.shape[0] // 2, 2, a.shape[1] // 2, 2, 3)
        a, b = a.reshape(half).mean((1, 3)), b.reshape(half).mean((1, 3))
    return result


def test_ms_ssim_is_that_of_wang_with_three_scales_at_64_pixels():
    a = faces(0)
    b = np.clip(0.7 * a + 0.3 * faces(1), -1, 1)
    weights = np.array([0.0448, 0.2856, 0.3001])
    expected = [slow_ms_ssim(x, y, weights / weights.sum()) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(ms_ssim(a, b), expected, rtol=1e-4)
    assert max(expected) < 0.99


def test_ms_ssim_of_equal_images_is_one_and_more_noise_is_less_alike():
    a = 0.5 * faces(0)
    noise = faces(1)
    np.testing.assert_allclose(ms_ssim(a, a), 1.0, rtol=1e-5)
    values = [ms_ssim(a, a + share * noise).mean() for share in (0.1, 0.3, 0.5)]
    assert values == sorted(values, reverse=True)


def test_ms_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11 pixels a side, got 8"):
        ms_ssim(faces(0, 8), faces(1, 8))


def test_psnr_counts_from_the_range_of_two():
    a = np.zeros((2, 8, 8, 3), np.float32)
    b = a + np.array([0.02, 0.2], np.float32)[:, None, None, None]
    np.testing.assert_allclose(psnr(a, b), [40.0, 20.0], rtol=1e-4)
