"""How the small networks learn: Muon for the kernels, Adam for the rest."""

import dataclasses

import jax
import optax
from flax import nnx
from optax.contrib import MuonDimensionNumbers, muon

from sdflow_jax.training.optimizer import in_floats

_SMALLEST_KERNEL = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelLearning:
    """How a small network learns, for the settings of its training to inherit.

    Attributes:
      num_steps: of the whole training.
      batch_size: faces a step.
      kernel_rate: Muon's highest rate, for kernels of convolutions and linear layers.
      learning_rate: Adam's highest rate, for norms, biases and the kernels of a few numbers.
      weight_decay: of the kernels, in units of their rate.
    """

    num_steps: int
    batch_size: int = 64
    kernel_rate: float = 5e-3
    learning_rate: float = 2e-3
    weight_decay: float = 0.05


def kernel_optimizer(network: nnx.Module, learning: KernelLearning) -> nnx.Optimizer:
    """Muon (Jordan et al. 2024) with warm-up and cosine decay.

    In a tenth of Adam's steps it took the identity encoder further than Adam came.

    Args:
      network: whose `nnx.Param` learn.
      learning: rates and length.
    """
    num_steps = learning.num_steps

    def schedule(highest):
        return in_floats(
            optax.warmup_cosine_decay_schedule(0.0, highest, num_steps // 20 + 1, num_steps)
        )

    rule = muon(
        schedule(learning.kernel_rate),
        weight_decay=learning.weight_decay,
        adam_learning_rate=schedule(learning.learning_rate),
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
