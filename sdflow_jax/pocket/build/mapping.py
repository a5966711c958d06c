"""Set the generator's mapping network so that z -> w samples the codes' Gaussian.

In a hundred dimensions most projections of the codes are near a normal distribution, so that training the layers on
the sliced Wasserstein distance (Bonneel et al., 2015) can teach them little more than mean and covariance, and slowly.
Leaky layers can hold an affine map exactly: nothing is trained here.
"""

import math

import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

# Far enough for a coordinate of a normalized z hardly ever to reach a rectifier's kink.
_SHIFT = 5.0
_SLOPE, _GAIN = 0.2, math.sqrt(2.0)  # of the layers' leaky ReLU


def fit_mapping(generator: nnx.Module, codes: NDArray[np.float32]) -> None:
    """Set `generator.mapping`, two layers or more, to z -> mean + z root, and `generator.w_average` to the mean.

    The first layers pass z on, shifted to where their rectifiers are linear. The last but one makes -w, kinked by its
    rectifier; the last turns it over, and its own rectifier's kink undoes the other.

    Args:
      generator: changed in place.
      codes: w [n, d], whose mean and covariance, `root` times its transpose, the map takes N(0, I) to.
    """
    mean = codes.mean(axis=0, dtype=np.float64)
    variances, components = np.linalg.eigh(np.cov(codes, rowvar=False))
    root = components * np.sqrt(np.maximum(variances, 0.0)) @ components.T
    *straight, bend, unbend = generator.mapping
    identity, ones = np.eye(len(mean)), np.ones(len(mean))
    shift = 0.0
    for layer in straight:
        _set(layer, identity / _GAIN, (_SHIFT - shift) / _GAIN * ones)
        shift = _SHIFT
    _set(bend, -root, shift * root.sum(axis=0) - mean)
    _set(unbend, -identity / (_SLOPE * _GAIN**2), 0.0 * ones)
    generator.w_average[...] = jnp.asarray(mean, jnp.float32)


def _set(layer, weights, bias):
    layer.kernel[...] = jnp.asarray(weights / layer.gain, jnp.float32)
    layer.bias[...] = jnp.asarray(bias / layer.bias_gain, jnp.float32)
