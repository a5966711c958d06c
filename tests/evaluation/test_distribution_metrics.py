"""Frechet and kernel distances against closed forms and slow sums."""

import itertools

import numpy as np
import scipy.linalg

from sdflow_jax.evaluation.distribution_metrics import frechet_distance, kernel_distance


def features(seed, count=60, size=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, size)) @ rng.normal(size=(size, size)) + rng.normal(size=size)


def test_frechet_distance_takes_the_root_of_the_covariances_product():
    a, b = features(0), features(1)
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-6)
    np.testing.assert_allclose(frechet_distance(a, a), 0.0, atol=1e-9)


def test_frechet_distance_of_moved_features_is_the_squared_way():
    a = features(0)
    np.testing.assert_allclose(frechet_distance(a, a + [3.0, 4.0, 0, 0, 0]), 25.0, rtol=1e-6)


def test_frechet_distance_with_fewer_rows_than_features_is_finite():
    assert np.isfinite(frechet_distance(features(0, 4), features(1, 4)))


def test_kernel_distance_sums_over_pairs_of_different_rows():
    a, b = features(0, 7), features(1, 9)

    def kernel(x, y):
        return (x @ y / 5 + 1) ** 3

    within = [
        np.mean([kernel(x[i], x[j]) for i, j in itertools.permutations(range(len(x)), 2)])
        for x in (a, b)
    ]
    across = np.mean([kernel(x, y) for x in a for y in b])
    np.testing.assert_allclose(kernel_distance(a, b), sum(within) - 2 * across, rtol=1e-9)


def test_kernel_distance_between_draws_of_one_distribution_is_near_zero_and_else_is_not():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400, 5))
    assert abs(kernel_distance(a, b)) < 0.1 < kernel_distance(a, b + 1.0)
