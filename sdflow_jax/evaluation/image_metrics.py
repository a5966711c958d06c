"""How near two images are: PSNR and multi-scale structural similarity."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

# Wang, Simoncelli & Bovik, "Multi-scale structural similarity", 2003: weights of scales 1 to 5.
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 11
_DEVIATION = 1.5


def psnr(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]) -> Float[Array, "b"]:
    """Peak signal-to-noise ratio of images in [-1, 1], in decibels; infinite for equal images."""
    error = jnp.square((a - b) / 2.0).mean(axis=(1, 2, 3))
    return -10.0 * jnp.log10(error)


def _local_means(x):
    """Gaussian-weighted means over windows of 11 pixels that lie inside the image."""
    offsets = jnp.arange(_WINDOW) - _WINDOW // 2
    weights = jnp.exp(-0.5 * jnp.square(offsets / _DEVIATION))
    weights = weights / weights.sum()
    height, width = x.shape[1] - _WINDOW + 1, x.shape[2] - _WINDOW + 1
    rows = sum(weights[i] * x[:, i : i + height] for i in range(_WINDOW))
    return sum(weights[i] * rows[:, :, i : i + width] for i in range(_WINDOW))


def ms_ssim(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]) -> Float[Array, "b"]:
    """Multi-scale structural similarity of images in [-1, 1]; 1 for equal images.

    As Wang et al. (2003) with their weights, over as many of their five scales as images of this size have
    (three at 64 pixels), the weights divided by their sum.

    Raises:
      ValueError: for images of less than 11 pixels a side.
    """
    side = min(a.shape[1:3])
    if side < _WINDOW:
        raise ValueError(f"MS-SSIM needs images of at least {_WINDOW} pixels a side, got {side}")
    num_scales = 1
    while num_scales < len(_SCALE_WEIGHTS) and side >> num_scales >= _WINDOW:
        num_scales += 1
    weights = jnp.asarray(_SCALE_WEIGHTS[:num_scales])
    weights = weights / weights.sum()
    a, b = (a + 1.0) / 2.0, (b + 1.0) / 2.0
    result = jnp.ones(len(a))
    for scale in range(num_scales):
        mean_a, mean_b = _local_means(a), _local_means(b)
        variance_a = _local_means(a * a) - mean_a**2
        variance_b = _local_means(b * b) - mean_b**2
        covariance = _local_means(a * b) - mean_a * mean_b
        structure = (2.0 * covariance + 0.03**2) / (variance_a + variance_b + 0.03**2)
        if scale == num_scales - 1:
            structure *= (2.0 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        # A negative mean has no real power; it only occurs for images that are each other's negative.
        result *= jnp.maximum(structure.mean(axis=(1, 2, 3)), 0.0) ** weights[scale]
        a, b = (nnx.avg_pool(x, (2, 2), strides=(2, 2)) for x in (a, b))
    return result
