"""The flow of SDFlow: moving batch norm, continuous flow, moving batch norm, under semantic
variables.

SDFlow (Li et al. 2024), method section; upstream `models/flows/flow.py`. With several blocks, norms
and continuous flows alternate, a norm first and last.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from sdflow_jax.flow.cnf import CNF
from sdflow_jax.flow.moving_batch_norm import MovingBatchNorm, Statistics, batch_statistics
from sdflow_jax.flow.solve import Solution, SolverLike, SolverSettings
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

    latents: Float[Array, "*b n d"]
    delta_logp: Float[Array, "*b n"] | None
    num_steps: Int[Array, ""]
    num_evaluations: Int[Array, ""]
    success: Bool[Array, ""]
    batch_statistics: tuple[Statistics, ...] | None


class ConditionalFlow(nnx.Module):
    """Invertible map between W+ latents and a standard normal, conditioned on semantic variables.

    The flow of SDFlow (Li et al. 2024, method section; upstream `models/flows/flow.py`). Its passes
    take a batch, latents [b, n, d] with semantic variables [b, a], or one example, [n, d] with [a].
    The examples of a batch share the solver's steps; under `jax.vmap` each has its own.

    Every argument but `rngs` can be a plain JSON value, so that a network file can rebuild the flow.

    Args:
      dim: d, the size of one latent.
      num_conditions: a, the number of semantic variables.
      hidden_sizes: widths of the vector field's hidden layers.
      num_blocks: continuous flows in a row, at least 1.
      solver: settings of the differential equation solver, as such, as a mapping, or as a diffrax
        solver.
      end_time: the time for which the field is followed at first, above 0.
      learn_end_time: whether the end time has a gradient.
      rngs: source of the initial weights.

    Raises:
      ValueError: for a number of blocks, an end time or a solver setting out of range.
    """

    def __init__(
        self,
        dim: int,
        num_conditions: int,
        hidden_sizes: Sequence[int] = (512,) * 5,
        num_blocks: int = 1,
        *,
        solver: SolverLike = None,
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
        # After the blocks, which draw weights: a file that asks for too many has then been refused.
        self.norms = nnx.List([MovingBatchNorm(dim) for _ in range(num_blocks + 1)])

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
        w_plus: Float[Array, "*b n d"],
        s: Float[Array, "*b a"],
        *,
        noise: Float[Array, "*b n d"] | None = None,
        trace: Trace = "hutchinson",
        statistics: Sequence[Statistics] | None = None,
        solver: SolverLike = None,
    ) -> FlowSolution:
        """Carry W+ latents to the base distribution, N(0, I).

        Args:
          w_plus: latents, [b, n, d], or [n, d] of one example.
          s: semantic variables in [0, 1] (extrapolation beyond is possible), [b, a] or [a].
          noise: Hutchinson's probe (`draw_noise`), shaped as the latents. Without it no log-density
            is computed.
          trace: "exact" gives the log-density without noise, at d times the cost.
          statistics: use these in place of the norms' own.
          solver: settings that replace the flow's own: those that a mapping names, or all of them; a diffrax
            solver alone takes the place of its method.

        Returns:
          The latents' counterparts, and how the solve went; of one example without the axis b. No
          error is raised where it failed, check `success`.

        Raises:
          ValueError: if the shapes do not fit each other or the flow.
        """
        self._check(w_plus, s, noise, trace)
        if w_plus.ndim == 2:
            options = {"trace": trace, "statistics": statistics, "solver": solver}
            return _of_one(self.forward, w_plus, s, noise, **options)
        settings = self.solver.changed(solver)
        stored = self.statistics if statistics is None else statistics
        latents, received, solutions = w_plus, [batch_statistics(w_plus)], []
        latents, log_determinant = self.norms[0].forward(latents, stored[0])
        delta_logp = jnp.zeros(latents.shape[:2], latents.dtype) - log_determinant
        for index, block in enumerate(self.blocks, 1):
            latents, change, solution = block.solve(latents, s, settings, noise=noise, trace=trace)
            solutions.append(solution)
            received.append(batch_statistics(latents))
            latents, log_determinant = self.norms[index].forward(latents, stored[index])
            if change is not None:
                delta_logp = delta_logp + change - log_determinant
        has_density = noise is not None or trace == "exact"
        return _joined(latents, delta_logp if has_density else None, solutions, tuple(received))

    def inverse(
        self,
        z: Float[Array, "*b n d"],
        s: Float[Array, "*b a"],
        *,
        noise: Float[Array, "*b n d"] | None = None,
        trace: Trace = "hutchinson",
        statistics: Sequence[Statistics] | None = None,
        solver: SolverLike = None,
    ) -> FlowSolution:
        """Carry latents of the base distribution to W+; all else as for `forward`."""
        self._check(z, s, noise, trace)
        if z.ndim == 2:
            options = {"trace": trace, "statistics": statistics, "solver": solver}
            return _of_one(self.inverse, z, s, noise, **options)
        settings = self.solver.changed(solver)
        stored = self.statistics if statistics is None else statistics
        latents, solutions = z, []
        latents, log_determinant = self.norms[-1].inverse(latents, stored[-1])
        delta_logp = jnp.zeros(latents.shape[:2], latents.dtype) - log_determinant
        for index in reversed(range(len(self.blocks))):
            latents, change, solution = self.blocks[index].solve(
                latents, s, settings, noise=noise, trace=trace, reverse=True
            )
            solutions.append(solution)
            latents, log_determinant = self.norms[index].inverse(latents, stored[index])
            if change is not None:
                delta_logp = delta_logp + change - log_determinant
        has_density = noise is not None or trace == "exact"
        return _joined(latents, delta_logp if has_density else None, solutions, None)

    def mismatch(
        self,
        w_plus: Float[Array, "b n d"],
        s: Float[Array, "b a"],
        z: Float[Array, "b n d"],
        shares: Float[Array, " b"],
    ) -> tuple[Float[Array, " b"], tuple[Statistics, ...]]:
        """How far the field of a flow of one block is from straight paths between W+ latents and draws of
        N(0, I): what flow matching makes small, without solving an equation.

        The paths run between the norms, whose parameters get no gradient: a norm that shrinks the
        latents would make every path short.

        Args:
          w_plus: latents.
          s: semantic variables, the field's condition.
          z: a draw of N(0, I) for each latent.
          shares: the share of the way at which each example is looked at, in [0, 1].

        Returns:
          The mean squared difference of each example, and statistics for `update_statistics` that leave the last norm
          where it is: what arrives there is meant to be N(0, I), not made to look like it.

        Raises:
          ValueError: if the flow has several blocks, or the shapes do not fit.
        """
        if len(self.blocks) != 1:
            raise ValueError(f"paths are straight in a flow of one block, got {len(self.blocks)}")
        self._check(w_plus, s, z, "hutchinson")
        first, last = self.norms
        start, _ = first.forward(w_plus, first.statistics)
        end, _ = last.inverse(z, last.statistics)
        error = self.blocks[0].mismatch(*jax.lax.stop_gradient((start, end)), s, shares)
        return error, (batch_statistics(w_plus), last.statistics)

    def log_prob(
        self,
        w_plus: Float[Array, "*b n d"],
        s: Float[Array, "*b a"],
        *,
        noise: Float[Array, "*b n d"] | None = None,
        trace: Trace = "hutchinson",
        statistics: Sequence[Statistics] | None = None,
        solver: SolverLike = None,
    ) -> Float[Array, "*b"]:
        """Conditional log-density log p(w | s) in nats, summed over an example's latents; arguments
        as for `forward`.

        With noise it is an unbiased estimate up to the solver's tolerance; with trace "exact" it is
        exact up to that tolerance. NaN for the whole batch if the solve failed.

        Raises:
          ValueError: if neither noise nor trace "exact" is given, or the shapes do not fit.
        """
        if noise is None and trace != "exact":
            raise ValueError(
                'log_prob needs noise=draw_noise(key, w_plus.shape), or trace="exact"; got neither'
            )
        options = {"trace": trace, "statistics": statistics, "solver": solver}
        solution = self.forward(w_plus, s, noise=noise, **options)
        log_prob = jnp.sum(
            standard_normal_log_prob(solution.latents) - solution.delta_logp, axis=-1
        )
        return jnp.where(solution.success, log_prob, jnp.nan)

    def _check(self, latents: Array, s: Array, noise: Array | None, trace: str) -> None:
        if latents.ndim not in (2, 3) or latents.shape[-1] != self.dim:
            raise ValueError(
                f"latents must have shape (b, n, {self.dim}) or (n, {self.dim}), got"
                f" {latents.shape}; was the flow built for another style dimension?"
            )
        expected = (*latents.shape[:-2], self.num_conditions)
        if s.shape != expected:
            raise ValueError(
                f"semantic variables must have shape {expected} for latents {latents.shape}, got"
                f" {s.shape}"
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


def _of_one(
    run: Callable[..., FlowSolution],
    latents: Float[Array, "n d"],
    s: Float[Array, " a"],
    noise: Float[Array, "n d"] | None,
    **options: Any,
) -> FlowSolution:
    """A pass of one example, which is given and returned without the axis b."""
    noise = None if noise is None else noise[None]
    found = run(latents[None], s[None], noise=noise, **options)
    delta_logp = None if found.delta_logp is None else found.delta_logp[0]
    return found._replace(latents=found.latents[0], delta_logp=delta_logp)


def _joined(
    latents: Float[Array, "b n d"],
    delta_logp: Float[Array, "b n"] | None,
    solutions: Sequence[Solution],
    statistics: tuple[Statistics, ...] | None,
) -> FlowSolution:
    """The result of a pass whose blocks were solved one by one."""
    return FlowSolution(
        latents,
        delta_logp,
        sum(solution.num_steps for solution in solutions),
        sum(solution.num_evaluations for solution in solutions),
        jnp.all(jnp.stack([solution.success for solution in solutions])),
        statistics,
    )
