"""Divergence of a vector field: Hutchinson's estimate, or the exact trace of the Jacobian."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

NoiseKind = Literal["rademacher", "gaussian"]
Trace = Literal["hutchinson", "exact"]

# Columns of the Jacobian computed side by side by `exact_trace`: enough to keep a processor busy,
# few enough that 512 columns of a batch never lie in memory together.
_COLUMNS_AT_ONCE = 32


def draw_noise(
    key: Array,
    shape: tuple[int, ...],
    kind: NoiseKind = "rademacher",
    dtype: jnp.dtype = jnp.float32,
) -> Float[Array, "..."]:
    """Draw Hutchinson's probe: independent entries of mean 0 and variance 1.

    Rademacher signs give the estimator (FFJORD, Grathwohl et al. 2019) its smallest variance;
    upstream draws Gaussians.

    Args:
      key: of the draw.
      shape: that of the latents.
      kind: "rademacher" or "gaussian".
      dtype: that of the latents.

    Raises:
      ValueError: for another kind.
    """
    if kind == "rademacher":
        return jax.random.rademacher(key, shape, dtype)
    if kind == "gaussian":
        return jax.random.normal(key, shape, dtype)
    raise ValueError(f"noise kind must be 'rademacher' or 'gaussian', got {kind!r}")


def hutchinson_trace(
    field: Callable[[Array], Array], y: Float[Array, "b n d"], noise: Float[Array, "b n d"]
) -> tuple[Float[Array, "b n d"], Float[Array, "b n"]]:
    """Field and `e^T J e` together (FFJORD, eq. 7), by one forward-mode product.

    Forward mode keeps no residuals, and the backward pass of training differentiates a plain
    program instead of a backward pass.
    """
    dy, jacobian_noise = jax.jvp(field, (y,), (noise,))
    return dy, jnp.sum(jacobian_noise * noise, axis=-1)


def exact_trace(
    field: Callable[[Array], Array], y: Float[Array, "b n d"]
) -> tuple[Float[Array, "b n d"], Float[Array, "b n"]]:
    """Field and trace of its Jacobian, one column per dimension: d times the work of an estimate.

    The field must treat the n latents of an example independently, as `VectorField` does.
    """
    dy, push_forward = jax.linearize(field, y)

    def diagonal_entry(column: Array) -> Float[Array, "b n"]:
        direction = jnp.zeros_like(y).at[..., column].set(1)
        return push_forward(direction)[..., column]

    dim = y.shape[-1]
    entries = jax.lax.map(diagonal_entry, jnp.arange(dim), batch_size=min(dim, _COLUMNS_AT_ONCE))
    return dy, jnp.sum(entries, axis=0)
