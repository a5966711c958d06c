"""How the small networks learn: Muon for the kernels, Adam for the rest."""

import jax
import optax
from flax import nnx
from optax.contrib import MuonDimensionNumbers, muon

from sdflow_jax.training.optimizer import in_floats

_SMALLEST_KERNEL = 1000


def kernel_optimizer(
    network: nnx.Module,
    num_steps: int,
    *,
    kernel_rate: float,
    learning_rate: float,
    weight_decay: float,
) -> nnx.Optimizer:
    """Muon (Jordan et al. 2024) with warm-up and cosine decay.

    In a tenth of Adam's steps it took the identity encoder further than Adam came.

    Args:
      network: whose `nnx.Param` learn.
      num_steps: of the whole training.
      kernel_rate: Muon's highest rate, for kernels of convolutions and linear layers.
      learning_rate: Adam's highest rate, for norms, biases and the kernels of a few numbers.
      weight_decay: of the kernels, in units of their rate.
    """

    def schedule(highest):
        return in_floats(
            optax.warmup_cosine_decay_schedule(0.0, highest, num_steps // 20 + 1, num_steps)
        )

    rule = muon(
        schedule(kernel_rate),
        weight_decay=weight_decay,
        adam_learning_rate=schedule(learning_rate),
        adam_b2=0.99,
        muon_weight_dimension_numbers=_as_matrices,
    )
    return nnx.Optimizer(network, optax.chain(optax.clip_by_global_norm(1.0), rule), wrt=nnx.Param)


def _as_matrices(params):
    """A kernel as a matrix whose last axis is the output; None for what is no kernel."""
    return jax.tree.map(
        lambda p: (
            MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1)
            if p.ndim > 1 and p.size > _SMALLEST_KERNEL
            else None
        ),
        params,
    )
