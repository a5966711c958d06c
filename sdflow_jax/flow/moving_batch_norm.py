"""Invertible batch normalization by moving statistics (PointFlow, Yang et al. 2019; upstream
`models/flows/normalization.py`).

`y = (x - mean) / sqrt(variance + eps) * exp(log_scale) + bias`. The statistics are the moving ones
in training too, so that the layer is a fixed affine map within a step: invertible, with a
log-determinant.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Statistics(NamedTuple):
    """Mean and variance per latent dimension; no variance of a single latent, which has no spread."""

    mean: Float[Array, " d"]
    variance: Float[Array, " d"] | None


class MovingBatchNorm(nnx.Module):
    """Affine map by moving statistics; learns its log-scale and its bias.

    Passes take the statistics as an argument and never move them: `move` does, once the caller says
    so.
    """

    def __init__(self, dim: int, *, decay: float = 0.1, epsilon: float = 1e-4):
        self.decay = decay
        self.epsilon = epsilon
        self.log_scale = nnx.Param(jnp.zeros(dim))
        self.bias = nnx.Param(jnp.zeros(dim))
        self.mean = nnx.BatchStat(jnp.zeros(dim))
        self.variance = nnx.BatchStat(jnp.ones(dim))
        self.num_updates = nnx.BatchStat(jnp.zeros(()))

    @property
    def statistics(self) -> Statistics:
        """The moving statistics as they stand."""
        return Statistics(self.mean[...], self.variance[...])

    def forward(
        self, x: Float[Array, "b n d"], statistics: Statistics
    ) -> tuple[Float[Array, "b n d"], Float[Array, ""]]:
        """Normalize; returns the output and log |det dy/dx| of one latent, in nats."""
        log_factor = self._log_factor(statistics, x.dtype)
        y = (x - statistics.mean[None, None]) * jnp.exp(log_factor)[None, None]
        return y + self.bias[...][None, None], jnp.sum(log_factor)

    def inverse(
        self, y: Float[Array, "b n d"], statistics: Statistics
    ) -> tuple[Float[Array, "b n d"], Float[Array, ""]]:
        """Undo `forward`; returns the output and log |det dx/dy| of one latent, in nats."""
        log_factor = self._log_factor(statistics, y.dtype)
        x = (y - self.bias[...][None, None]) * jnp.exp(-log_factor)[None, None]
        return x + statistics.mean[None, None], -jnp.sum(log_factor)

    def moved(self, batch: Statistics) -> Statistics:
        """The moving statistics, a step `decay` nearer to those of a batch; stores nothing. Of a single latent the
        mean alone moves.
        """
        stored = self.statistics
        new = batch if batch.variance is not None else batch._replace(variance=stored.variance)
        return jax.tree.map(lambda old, new: old + self.decay * (new - old), stored, new)

    def move(self, batch: Statistics) -> None:
        """Store `moved(batch)`."""
        self.mean[...], self.variance[...] = self.moved(batch)
        self.num_updates[...] += 1

    def _log_factor(self, statistics: Statistics, dtype: jnp.dtype) -> Float[Array, " d"]:
        # In the type of what it will multiply: latents in float64 would go in float32's steps else.
        variance = statistics.variance.astype(jnp.promote_types(statistics.variance.dtype, dtype))
        return self.log_scale[...] - 0.5 * jnp.log(variance + self.epsilon)


def batch_statistics(x: Float[Array, "b n d"]) -> Statistics:
    """Mean and unbiased variance over all latents of a batch, without gradient."""
    rows = jax.lax.stop_gradient(x).reshape(-1, x.shape[-1])
    if rows.shape[0] == 1:
        return Statistics(rows[0], None)
    return Statistics(jnp.mean(rows, axis=0), jnp.var(rows, axis=0, ddof=1))
