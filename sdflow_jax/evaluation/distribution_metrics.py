"""How near two sets of images are, seen through the features of a network."""

import numpy as np
from jaxtyping import Float


def frechet_distance(a: Float[np.ndarray, "n f"], b: Float[np.ndarray, "m f"]) -> float:
    """Squared Frechet distance between Gaussians fitted to two sets of features.

    Heusel et al. 2017 (https://arxiv.org/abs/1706.08500), equation 6. It shrinks as the sets grow: compare
    distances between sets of one size only.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    # The product of two covariances has the eigenvalues of this symmetric matrix.
    product = np.linalg.eigvalsh(root @ covariance_b @ root)
    trace = np.trace(covariance_a) + np.trace(covariance_b)
    trace -= 2.0 * np.sqrt(np.maximum(product, 0.0)).sum()
    return float(np.square(a.mean(0) - b.mean(0)).sum() + trace)


def kernel_distance(a: Float[np.ndarray, "n f"], b: Float[np.ndarray, "m f"]) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / f + 1)^3; can be negative.

    Binkowski et al. 2018 (https://arxiv.org/abs/1801.01401), section 4, over the whole sets at once.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1.0) ** 3

    def mean_of_pairs(x):
        values = kernel(x, x)
        return (values.sum() - np.trace(values)) / (len(x) * (len(x) - 1))

    return float(mean_of_pairs(a) + mean_of_pairs(b) - 2.0 * kernel(a, b).mean())
