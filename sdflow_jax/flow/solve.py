"""Solving the flow's differential equation over unit time, with diffrax."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

# Solver, and function evaluations per step and per solve: (stages - 1) and 1 where the last stage
# of a step is the first of the next one.
_METHODS = {
    "dopri5": (diffrax.Dopri5, 6, 1),
    "tsit5": (diffrax.Tsit5, 6, 1),
    "dopri8": (diffrax.Dopri8, 13, 1),
    "bosh3": (diffrax.Bosh3, 3, 1),
    "heun": (diffrax.Heun, 2, 0),
    "midpoint": (diffrax.Midpoint, 2, 0),
    "euler": (diffrax.Euler, 1, 0),
}
_ADJOINTS = {
    "recursive_checkpoint": diffrax.RecursiveCheckpointAdjoint,
    "direct": diffrax.DirectAdjoint,
    "backsolve": diffrax.BacksolveAdjoint,
}


@dataclasses.dataclass(frozen=True)
class SolverSettings:
    """How to solve the flow's differential equation. Times and steps are in units of the whole
    solve.

    Attributes:
      method: Runge-Kutta method: dopri5, tsit5, dopri8, bosh3, heun, midpoint or euler.
      rtol: relative tolerance of one step. Below about 1e-6, float32 rounding drives the step size.
      atol: absolute tolerance of one step.
      first_step: size of the first step that is tried.
      max_steps: steps, rejected ones included, after which a solve gives up and reports no success.
        Memory of the recursive checkpoints grows with it: stay near the true need.
      num_steps: if given, this many equal steps instead of adaptive ones; the tolerances play no
        role.
      adjoint: how gradients are found: "recursive_checkpoint" (discretise, then differentiate;
        memory bounded by recomputation), "direct" (the same gradient, for forward over reverse
        mode), or "backsolve" (the continuous adjoint equation: constant memory, gradients only as
        exact as rtol).
      error_norm: "max_rms", the largest of the root mean squares of latents and log-density, each
        by itself (torchdiffeq, and so upstream), or "rms", one over everything.
    """

    method: str = "dopri5"
    rtol: float = 1e-5
    atol: float = 1e-5
    first_step: float = 0.05
    max_steps: int = 64
    num_steps: int | None = None
    adjoint: Literal["recursive_checkpoint", "direct", "backsolve"] = "recursive_checkpoint"
    error_norm: Literal["max_rms", "rms"] = "max_rms"

    def __post_init__(self):
        _require(self.method in _METHODS, "method", self.method, "one of " + ", ".join(_METHODS))
        _require(
            self.adjoint in _ADJOINTS, "adjoint", self.adjoint, "one of " + ", ".join(_ADJOINTS)
        )
        _require(
            self.error_norm in ("max_rms", "rms"), "error_norm", self.error_norm, "max_rms or rms"
        )
        _require(self.rtol > 0, "rtol", self.rtol, "positive")
        _require(self.atol > 0, "atol", self.atol, "positive")
        _require(0 < self.first_step <= 1, "first_step", self.first_step, "in (0, 1]")
        _require(self.max_steps >= 1, "max_steps", self.max_steps, "at least 1")
        _require(
            self.num_steps is None or self.num_steps >= 1,
            "num_steps",
            self.num_steps,
            "at least 1, or None for adaptive steps",
        )
        if self.method == "euler" and self.num_steps is None:
            raise ValueError("solver euler has no error estimate: give it num_steps")

    @classmethod
    def create(cls, settings: "SolverSettings | Mapping[str, Any] | None") -> "SolverSettings":
        """Settings from settings, from a mapping (as in a network file or config), or the defaults.

        Raises:
          ValueError: for a setting that does not exist, or a value out of range.
        """
        if isinstance(settings, cls):
            return settings
        given = dict(settings or {})
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := sorted(given.keys() - set(known)):
            raise ValueError(
                f"unknown solver settings {', '.join(unknown)}; known ones are {', '.join(known)}"
            )
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values; `create` reads them back."""
        return dataclasses.asdict(self)

    def count_evaluations(self, num_steps: Int[Array, ""]) -> Int[Array, ""]:
        """Evaluations of the vector field in a solve of `num_steps` steps."""
        _, per_step, per_solve = _METHODS[self.method]
        return per_step * num_steps + per_solve


class Solution(NamedTuple):
    """Where a solve arrived, and how.

    `success` is false if the steps ran out or a value is not finite; `y` is then meaningless,
    however plausible it looks.
    """

    y: PyTree[Array]
    num_steps: Int[Array, ""]
    num_evaluations: Int[Array, ""]
    success: Bool[Array, ""]


def solve(
    derivative: Callable[[Array, PyTree, PyTree], PyTree],
    y0: PyTree[Array],
    args: PyTree,
    settings: SolverSettings,
    *,
    reverse: bool = False,
) -> Solution:
    """Carry `y0` from time 0 to time 1 along `derivative(time, y, args)`, or from 1 to 0.

    Args:
      derivative: must use traced values from its arguments only, for the sake of the backsolve
        adjoint.
      y0: the starting point, arrays of one floating-point type; time has the same type.
      args: everything else that may need a gradient.
      settings: the method, its tolerances and its gradient.
      reverse: run from time 1 to time 0.
    """
    method, _, _ = _METHODS[settings.method]
    dtype = jax.tree.leaves(y0)[0].dtype
    start, end = jnp.asarray([1, 0] if reverse else [0, 1], dtype)
    if settings.num_steps is None:
        controller = diffrax.PIDController(
            rtol=settings.rtol,
            atol=settings.atol,
            norm=_max_rms if settings.error_norm == "max_rms" else _rms,
        )
        first_step, max_steps = (end - start) * settings.first_step, settings.max_steps
    else:
        times = start + (end - start) * jnp.linspace(0, 1, settings.num_steps + 1, dtype=dtype)
        controller = diffrax.StepTo(times)
        first_step, max_steps = None, settings.num_steps
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(derivative),
        method(),
        start,
        end,
        first_step,
        y0,
        args,
        stepsize_controller=controller,
        adjoint=_ADJOINTS[settings.adjoint](),
        max_steps=max_steps,
        throw=False,
    )
    y = jax.tree.map(lambda saved: saved[0], solution.ys)
    num_steps = solution.stats["num_steps"]
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(y)]
    success = jnp.all(jnp.stack([solution.result == diffrax.RESULTS.successful, *finite]))
    return Solution(y, num_steps, settings.count_evaluations(num_steps), success)


def _rms(tree: PyTree[Array]) -> Array:
    leaves = jax.tree.leaves(tree)
    return jnp.sqrt(sum(jnp.sum(x**2) for x in leaves) / sum(x.size for x in leaves))


def _max_rms(tree: PyTree[Array]) -> Array:
    return jnp.max(jnp.stack([jnp.sqrt(jnp.mean(x**2)) for x in jax.tree.leaves(tree)]))


def _require(holds: bool, name: str, value: Any, expected: str) -> None:
    if not holds:
        raise ValueError(f"solver setting {name} must be {expected}; got {value!r}")
