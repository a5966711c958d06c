"""The flow of SDFlow: moving batch norm, continuous flow, moving batch norm, under semantic
variables.

SDFlow (Li et al. 2024), method section; upstream `models/flows/flow.py`. With several blocks, norms
and continuous flows alternate, a norm first and last.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from sdflow_jax.flow.cnf import CNF
from sdflow_jax.flow.moving_batch_norm import MovingBatchNorm, Statistics, batch_statistics
from sdflow_jax.flow.solve import Solution, SolverSettings
from sdflow_jax.flow.trace import Trace


class FlowSolution(NamedTuple):
    """Result of one pass through the flow.

    Attributes:
      latents: where the latents arrived.
      delta_logp: log-density at the arrival minus log-density at the start, per latent, in nats;
        None unless it was asked for.
      num_steps: solver steps over all blocks, rejected ones included.
      num_evaluations: evaluations of the vector field over all blocks.
      success: false if a solve ran out of steps or met a value that is not finite; `latents` is
        then meaningless, however plausible it looks. Check it.
      batch_statistics: statistics of what each norm received, for `update_statistics`; None for the
        inverse pass, which never moves them.
    """

    latents: Float[Array, "b n d"]
    delta_logp: Float[Array, "b n"] | None
    num_steps: Int[Array, ""]
    num_evaluations: Int[Array, ""]
    success: Bool[Array, ""]
    batch_statistics: tuple[Statistics, ...] | None


class ConditionalFlow(nnx.Module):
    """Invertible map between W+ latents and a standard normal, conditioned on semantic variables.

    Every argument but `rngs` is a plain JSON value, so a network file can rebuild the flow.

    Args:
      dim: size of one latent.
      num_conditions: number of semantic variables.
      hidden_sizes: widths of the vector field's hidden layers.
      num_blocks: continuous flows in a row.
      solver: settings of the differential equation solver, as such or as a mapping.
      end_time: the time for which the field is followed at first.
      learn_end_time: whether the end time has a gradient.
      rngs: source of the initial weights.
    """

    def __init__(
        self,
        dim: int,
        num_conditions: int,
        hidden_sizes: Sequence[int] = (512,) * 5,
        num_blocks: int = 1,
        *,
        solver: SolverSettings | Mapping[str, Any] | None = None,
        end_time: float = 1.0,
        learn_end_time: bool = True,
        rngs: nnx.Rngs,
    ):
        if num_blocks < 1:
            raise ValueError(f"a flow needs at least one block, got num_blocks={num_blocks}")
        if end_time <= 0:
            raise ValueError(f"the end time must be positive, got {end_time}")
        self.dim = dim
        self.num_conditions = num_conditions
        self.solver = SolverSettings.create(solver)
        self.norms = nnx.List([MovingBatchNorm(dim) for _ in range(num_blocks + 1)])
        self.blocks = nnx.List(
            [
                CNF(
                    dim,
                    num_conditions,
                    tuple(hidden_sizes),
                    end_time=end_time,
                    learn_end_time=learn_end_time,
                    rngs=rngs,
                )
                for _ in range(num_blocks)
            ]
        )

    @property
    def statistics(self) -> tuple[Statistics, ...]:
        """The moving statistics of all norms as they stand."""
        return tuple(norm.statistics for norm in self.norms)

    def moved_statistics(self, batch: Sequence[Statistics]) -> tuple[Statistics, ...]:
        """The statistics that `update_statistics(batch)` would store; changes nothing."""
        return tuple(norm.moved(new) for norm, new in zip(self.norms, batch, strict=True))

    def update_statistics(self, batch: Sequence[Statistics]) -> None:
        """Move the norms' statistics toward those that a forward pass returned.

        Passes never do this themselves, so that the two passes of a training step are each other's
        inverse; upstream moves them within its forward pass.
        """
        for norm, new in zip(self.norms, batch, strict=True):
            norm.move(new)

    def forward(
        self,
        w_plus: Float[Array, "b n d"],
        s: Float[Array, "b a"],
        *,
        noise: Float[Array, "b n d"] | None = None,
        trace: Trace = "hutchinson",
        statistics: Sequence[Statistics] | None = None,
        solver: SolverSettings | None = None,
    ) -> FlowSolution:
        """Carry W+ latents to the base distribution.

        Args:
          w_plus: latents.
          s: semantic variables in [0, 1] (extrapolation beyond is possible).
          noise: Hutchinson's probe (`draw_noise`). Without it no log-density is computed.
          trace: "exact" gives the log-density without noise, at d times the cost.
          statistics: use these in place of the norms' own.
          solver: use these settings in place of the flow's own.

        Raises:
          ValueError: if the shapes do not fit each other or the flow.
        """
        self._check(w_plus, s, noise, trace)
        statistics = self.statistics if statistics is None else statistics
        run = _Pass(w_plus, wants_density=trace == "exact" or noise is not None)
        received = [batch_statistics(w_plus)]
        run.through_norm(self.norms[0].forward(w_plus, statistics[0]))
        for block, norm, stored in zip(
            self.blocks, list(self.norms)[1:], statistics[1:], strict=True
        ):
            run.through_block(
                block.solve(run.latents, s, solver or self.solver, noise=noise, trace=trace)
            )
            received.append(batch_statistics(run.latents))
            run.through_norm(norm.forward(run.latents, stored))
        return run.result(tuple(received))

    def inverse(
        self,
        z: Float[Array, "b n d"],
        s: Float[Array, "b a"],
        *,
        noise: Float[Array, "b n d"] | None = None,
        trace: Trace = "hutchinson",
        statistics: Sequence[Statistics] | None = None,
        solver: SolverSettings | None = None,
    ) -> FlowSolution:
        """Carry latents of the base distribution to W+; arguments as for `forward`."""
        self._check(z, s, noise, trace)
        statistics = self.statistics if statistics is None else statistics
        run = _Pass(z, wants_density=trace == "exact" or noise is not None)
        run.through_norm(self.norms[-1].inverse(z, statistics[-1]))
        for index in reversed(range(len(self.blocks))):
            run.through_block(
                self.blocks[index].solve(
                    run.latents, s, solver or self.solver, noise=noise, trace=trace, reverse=True
                )
            )
            run.through_norm(self.norms[index].inverse(run.latents, statistics[index]))
        return run.result(None)

    def log_prob(
        self,
        w_plus: Float[Array, "b n d"],
        s: Float[Array, "b a"],
        *,
        noise: Float[Array, "b n d"] | None = None,
        trace: Trace = "hutchinson",
    ) -> Float[Array, " b"]:
        """Conditional log-density log p(w | s) in nats, summed over an example's latents.

        With noise it is an unbiased estimate up to the solver's tolerance; with trace "exact" it is
        exact up to that tolerance. NaN for the whole batch if the solve failed.

        Raises:
          ValueError: if neither noise nor trace "exact" is given, or the shapes do not fit.
        """
        if noise is None and trace != "exact":
            raise ValueError(
                'log_prob needs noise=draw_noise(key, w_plus.shape), or trace="exact"; got neither'
            )
        solution = self.forward(w_plus, s, noise=noise, trace=trace)
        log_prob = jnp.sum(
            standard_normal_log_prob(solution.latents) - solution.delta_logp, axis=-1
        )
        return jnp.where(solution.success, log_prob, jnp.nan)

    def _check(self, latents: Array, s: Array, noise: Array | None, trace: str) -> None:
        if latents.ndim != 3 or latents.shape[-1] != self.dim:
            raise ValueError(
                f"latents must have shape (b, n, {self.dim}), got {latents.shape};"
                " was the flow built for another style dimension?"
            )
        if s.shape != (latents.shape[0], self.num_conditions):
            raise ValueError(
                f"semantic variables must have shape {(latents.shape[0], self.num_conditions)} for"
                f" latents {latents.shape}, got {s.shape}"
            )
        if noise is not None and noise.shape != latents.shape:
            raise ValueError(
                f"noise must have the latents' shape {latents.shape}, got {noise.shape}"
            )
        if trace not in ("hutchinson", "exact"):
            raise ValueError(f"trace must be 'hutchinson' or 'exact', got {trace!r}")


def standard_normal_log_prob(z: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
    """log N(z; 0, I) in nats, summed over the last axis."""
    return -0.5 * jnp.sum(z**2, axis=-1) - 0.5 * z.shape[-1] * jnp.log(2 * jnp.pi).astype(z.dtype)


class _Pass:
    """What accumulates along one pass: latents, log-density, steps and success."""

    def __init__(self, latents: Float[Array, "b n d"], *, wants_density: bool):
        self.latents = latents
        self.delta_logp = jnp.zeros(latents.shape[:2], latents.dtype) if wants_density else None
        self.num_steps = jnp.zeros((), jnp.int32)
        self.num_evaluations = jnp.zeros((), jnp.int32)
        self.success = jnp.asarray(True)

    def through_norm(self, outcome: tuple[Array, Array]) -> None:
        self.latents, log_determinant = outcome
        if self.delta_logp is not None:
            self.delta_logp = self.delta_logp - log_determinant

    def through_block(self, outcome: tuple[Array, Array | None, Solution]) -> None:
        self.latents, delta_logp, solution = outcome
        if self.delta_logp is not None:
            self.delta_logp = self.delta_logp + delta_logp
        self.num_steps += solution.num_steps
        self.num_evaluations += solution.num_evaluations
        self.success &= solution.success

    def result(self, statistics: tuple[Statistics, ...] | None) -> FlowSolution:
        return FlowSolution(
            self.latents,
            self.delta_logp,
            self.num_steps,
            self.num_evaluations,
            self.success,
            statistics,
        )
