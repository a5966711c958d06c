"""Vector field of the conditional flow: ConcatSquash layers, gated and shifted by time and
condition.

A layer maps h to `(W h + c) * sigmoid(G [t, s] + g) + B [t, s]` (FFJORD, Grathwohl et al. 2019,
appendix; upstream `models/flows/diffeq_layers.py`), with tanh between layers. Gate and shift depend
on time and condition only, and are affine in time: over one solve, `G [t, s] + g = (G_s s + g) + t
G_t`, where the bracket is a constant per example. `VectorField.condition` computes those constants
once; `velocity` then needs no matrix product but W's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

# Reduced-precision products (the default of some accelerators) add noise that an adaptive solver at
# rtol = 1e-5 takes for stiffness: it would reject step after step.
_PRECISION = jax.lax.Precision.HIGHEST


class ConditionedLayer(NamedTuple):
    """One ConcatSquash layer with its condition folded in: plain arrays, for use inside a solve."""

    kernel: Float[Array, "i o"]
    bias: Float[Array, "1 1 o"]
    gate_start: Float[Array, "b 1 o"]
    gate_rate: Float[Array, "1 1 o"]
    shift_start: Float[Array, "b 1 o"]
    shift_rate: Float[Array, "1 1 o"]


def velocity(
    time: Float[Array, ""], y: Float[Array, "b n d"], layers: Sequence[ConditionedLayer]
) -> Float[Array, "b n d"]:
    """Evaluate the field at one time; the latents of an example do not see each other.

    Args:
      time: in [0, T], T the flow's end time.
      y: latents.
      layers: what `VectorField.condition` has made of the semantic variables.

    Returns:
      dy/dt, shaped as the latents.
    """
    for index, layer in enumerate(layers):
        if index > 0:
            y = jnp.tanh(y)
        gate = nnx.sigmoid(layer.gate_start + time * layer.gate_rate)
        shift = layer.shift_start + time * layer.shift_rate
        y = (_rowwise_matmul(y, layer.kernel) + layer.bias) * gate + shift
    return y


def _rowwise_matmul(y: Float[Array, "b n i"], kernel: Float[Array, "i o"]) -> Float[Array, "b n o"]:
    # As a product of two matrices: the kernel's gradient then is one too, for which XLA's CPU backend
    # has fast code, while it has none for a contraction over both b and n (a quarter of the gradient).
    rows = jnp.matmul(y.reshape(-1, y.shape[-1]), kernel, precision=_PRECISION)
    return rows.reshape(*y.shape[:-1], -1)


class ConcatSquash(nnx.Module):
    """Linear layer gated and shifted by the context [t, s]; initialized as in PyTorch."""

    def __init__(self, in_features: int, out_features: int, num_conditions: int, *, rngs: nnx.Rngs):
        self.linear = _linear(in_features, out_features, rngs=rngs)
        self.gate = _linear(1 + num_conditions, out_features, rngs=rngs)
        self.shift = _linear(1 + num_conditions, out_features, use_bias=False, rngs=rngs)

    def condition(self, s: Float[Array, "b a"]) -> ConditionedLayer:
        gate, shift = self.gate.kernel[...], self.shift.kernel[...]  # row 0 belongs to time
        gate_start = jnp.matmul(s, gate[1:], precision=_PRECISION) + self.gate.bias[...][None]
        shift_start = jnp.matmul(s, shift[1:], precision=_PRECISION)
        return ConditionedLayer(
            kernel=self.linear.kernel[...],
            bias=self.linear.bias[...][None, None],
            gate_start=gate_start[:, None],
            gate_rate=gate[0][None, None],
            shift_start=shift_start[:, None],
            shift_rate=shift[0][None, None],
        )


class VectorField(nnx.Module):
    """Multilayer vector field dy/dt = Phi(y, t, s), applied to each of an example's n latents
    alike.

    ConcatSquash layers (FFJORD, Grathwohl et al. 2019; upstream `models/flows/diffeq_layers.py`).
    Holds parameters only: a solve may evaluate it any number of times without a trace of it.

    Args:
      dim: d, the size of one latent.
      num_conditions: a, the number of semantic variables.
      hidden_sizes: widths of the hidden layers; none leaves one layer.
      rngs: source of the initial weights.
    """

    velocity = staticmethod(velocity)

    def __init__(
        self, dim: int, num_conditions: int, hidden_sizes: Sequence[int], *, rngs: nnx.Rngs
    ):
        sizes = (dim, *hidden_sizes, dim)
        self.layers = nnx.List(
            [
                ConcatSquash(sizes[i], sizes[i + 1], num_conditions, rngs=rngs)
                for i in range(len(sizes) - 1)
            ]
        )

    def condition(self, s: Float[Array, "b a"]) -> tuple[ConditionedLayer, ...]:
        """Fold the semantic variables in, nominally in [0, 1]: all that stays the same along one
        solve.
        """
        return tuple(layer.condition(s) for layer in self.layers)

    def __call__(
        self, time: Float[Array, ""], y: Float[Array, "b n d"], s: Float[Array, "b a"]
    ) -> Float[Array, "b n d"]:
        """dy/dt of latents at one time under semantic variables; see `velocity`."""
        return velocity(time, y, self.condition(s))


def _linear(
    in_features: int, out_features: int, *, use_bias: bool = True, rngs: nnx.Rngs
) -> nnx.Linear:
    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        bound = in_features**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return nnx.Linear(
        in_features, out_features, use_bias=use_bias, kernel_init=init, bias_init=init, rngs=rngs
    )
