"""Solving the flow's differential equation over unit time, with diffrax."""

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from sdflow_jax.flow.stored_steps import has_explicit_steps, has_succeeded, solve_storing_steps

_METHODS = {
    "dopri5": diffrax.Dopri5,
    "tsit5": diffrax.Tsit5,
    "dopri8": diffrax.Dopri8,
    "bosh3": diffrax.Bosh3,
    "heun": diffrax.Heun,
    "midpoint": diffrax.Midpoint,
    "euler": diffrax.Euler,
}
_STORED_STEPS = "stored_steps"
_ADJOINTS = {
    # What solves where no gradient is asked for, and for solvers whose steps are not explicit.
    _STORED_STEPS: diffrax.RecursiveCheckpointAdjoint,
    "recursive_checkpoint": diffrax.RecursiveCheckpointAdjoint,
    "direct": diffrax.DirectAdjoint,
    "backsolve": diffrax.BacksolveAdjoint,
}

_PLAIN = {"rtol": float, "atol": float, "first_step": float, "max_steps": int, "num_steps": int}

# A setting of older network files, whose one value still means what every solve does.
_FORMER = {"error_norm": "max_rms"}


@dataclasses.dataclass(frozen=True)
class SolverSettings:
    """How to solve the flow's differential equation. Times and steps are in units of the whole
    solve.

    Solver, step sizes and gradient can be named, as configs and network files do, or given as
    objects of diffrax: `SolverSettings(method=diffrax.Kvaerno5(), adjoint=diffrax.DirectAdjoint())`.
    Settings with objects cannot be written to a file.

    Attributes:
      method: Runge-Kutta method: dopri5, tsit5, dopri8, bosh3, heun, midpoint, euler, or any
        diffrax solver of ordinary differential equations.
      rtol: relative tolerance of one step. Below about 1e-6, float32 rounding drives the step size.
      atol: absolute tolerance of one step.
      first_step: size of the first step that is tried.
      max_steps: steps, rejected ones included, after which a solve gives up and reports no success.
        Memory of the gradient grows with it: stay near the true need.
      num_steps: if given, this many equal steps instead of adaptive ones; the tolerances play no
        role.
      adjoint: how gradients are found: "stored_steps" (discretise, then differentiate: keeps the
        state of each of `max_steps`; of solvers that are not explicit Runge-Kutta methods it is
        "recursive_checkpoint"), "recursive_checkpoint" (the same gradient, slower; memory bounded by
        recomputation), "direct" (the same gradient, for forward over reverse mode), "backsolve"
        (the continuous adjoint equation: constant memory, gradients only as exact as rtol), or a
        diffrax adjoint.
      controller: a diffrax step size controller in place of the one that rtol and atol describe: a
        PI controller of the largest of the root mean squares of latents and log-density, each by
        itself (as torchdiffeq, and so upstream). It must suit both directions of time.

    Raises:
      ValueError: for a value out of range, or settings that exclude each other.
    """

    method: str | diffrax.AbstractSolver = "dopri5"
    rtol: float = 1e-5
    atol: float = 1e-5
    first_step: float = 0.05
    max_steps: int = 64
    num_steps: int | None = None
    adjoint: str | diffrax.AbstractAdjoint = _STORED_STEPS
    controller: diffrax.AbstractStepSizeController | None = None

    def __post_init__(self):
        _require_named("method", self.method, _METHODS, diffrax.AbstractSolver)
        _require_named("adjoint", self.adjoint, _ADJOINTS, diffrax.AbstractAdjoint)
        _require(_is_above_0(self.rtol), "rtol", self.rtol, "positive")
        _require(_is_above_0(self.atol), "atol", self.atol, "positive")
        _require(
            _is_above_0(self.first_step) and self.first_step <= 1,
            "first_step",
            self.first_step,
            "in (0, 1]",
        )
        whole = numbers.Integral
        _require(_is_above_0(self.max_steps, whole), "max_steps", self.max_steps, "at least 1")
        _require(
            self.num_steps is None or _is_above_0(self.num_steps, whole),
            "num_steps",
            self.num_steps,
            "at least 1, or None for adaptive steps",
        )
        _require(
            isinstance(self.controller, diffrax.AbstractStepSizeController | None),
            "controller",
            self.controller,
            "a diffrax step size controller, or None",
        )
        if self.controller is not None and self.num_steps is not None:
            raise ValueError("give either num_steps or a controller: both decide the step sizes")
        is_adaptive = self.num_steps is None and self.controller is None
        if isinstance(self.solver, diffrax.Euler) and is_adaptive:
            raise ValueError("solver euler has no error estimate: give it num_steps")
        for name, plain in _PLAIN.items():  # numpy's numbers too, which no JSON file takes
            if getattr(self, name) is not None:
                object.__setattr__(self, name, plain(getattr(self, name)))

    @classmethod
    def create(cls, settings: "SolverLike") -> "SolverSettings":
        """Settings from settings, from a mapping (as in a network file or config), from a diffrax
        solver alone, or the defaults.

        Raises:
          ValueError: for a setting that does not exist, or a value out of range.
        """
        if isinstance(settings, cls):
            return settings
        if isinstance(settings, diffrax.AbstractSolver):
            return cls(method=settings)
        given = dict(settings or {})
        for name, value in _FORMER.items():
            if given.pop(name, value) != value:
                raise ValueError(
                    f"solver setting {name} was once an option, and is now always {value!r};"
                    " give a controller for another norm"
                )
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := sorted(given.keys() - set(known)):
            raise ValueError(
                f"unknown solver settings {', '.join(unknown)}; known ones are {', '.join(known)}"
            )
        return cls(**given)

    def changed(self, settings: "SolverLike") -> "SolverSettings":
        """These settings with some replaced: by what a mapping names, by whole settings, or the method alone by a
        diffrax solver; None replaces nothing.

        Raises:
          ValueError: as `create`.
        """
        if settings is None or isinstance(settings, SolverSettings):
            return settings or self
        if isinstance(settings, diffrax.AbstractSolver):
            return dataclasses.replace(self, method=settings)
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return self.create({**own, **settings})

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values; `create` reads them back.

        Raises:
          ValueError: if some are objects, which no file can hold.
        """
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if plain.pop("controller") is not None or not all(
            isinstance(plain[name], str) for name in ("method", "adjoint")
        ):
            raise ValueError(
                "solver settings with objects of diffrax cannot be written to a file; name the"
                " method and the adjoint, and leave the controller out"
            )
        return plain

    @property
    def solver(self) -> diffrax.AbstractSolver:
        """The method as an object."""
        return _METHODS[self.method]() if isinstance(self.method, str) else self.method

    def count_evaluations(self, num_steps: Int[Array, ""]) -> Int[Array, ""]:
        """Evaluations of the vector field in a solve of `num_steps` steps; -1 for solvers that do
        not tell, which are those that are not explicit Runge-Kutta methods.
        """
        solver = self.solver
        if isinstance(solver, diffrax.Euler):
            return num_steps
        if not isinstance(solver, diffrax.AbstractERK):
            return jnp.full_like(num_steps, -1)
        # Where the last stage of a step is the first of the next one, it is evaluated once.
        stages, is_shared = solver.tableau.num_stages, solver.tableau.fsal
        return (stages - 1) * num_steps + 1 if is_shared else stages * num_steps


# What stands for settings wherever a solver is asked for.
SolverLike = SolverSettings | Mapping[str, Any] | diffrax.AbstractSolver | None


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
      args: everything else that may need a gradient; integer and boolean arrays, which have none, may
        be among it.
      settings: the method, its tolerances and its gradient.
      reverse: run from time 1 to time 0.
    """
    solver, adjoint = settings.solver, settings.adjoint

    def integrate(y0: PyTree, args: PyTree, saveat: diffrax.SaveAt) -> diffrax.Solution:
        return _integrate(derivative, y0, args, settings, saveat, reverse=reverse)

    if adjoint == _STORED_STEPS and has_explicit_steps(solver):
        y, stats, success = solve_storing_steps(integrate, derivative, solver, y0, args)
    else:
        solution = integrate(y0, args, diffrax.SaveAt(t1=True))
        y = jax.tree.map(lambda saved: saved[0], solution.ys)
        stats, success = solution.stats, has_succeeded(solution)
    num_steps = stats["num_steps"]
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(y)]
    success = jnp.all(jnp.stack([success, *finite]))
    return Solution(y, num_steps, settings.count_evaluations(num_steps), success)


def _integrate(
    derivative: Callable[[Array, PyTree, PyTree], PyTree],
    y0: PyTree[Array],
    args: PyTree,
    settings: SolverSettings,
    saveat: diffrax.SaveAt,
    *,
    reverse: bool,
) -> diffrax.Solution:
    """diffrax's solve with these settings."""
    dtype = jax.tree.leaves(y0)[0].dtype
    start, end = jnp.asarray([1, 0] if reverse else [0, 1], dtype)
    first_step, max_steps = None, settings.max_steps
    if settings.controller is not None:
        controller = settings.controller
        first_step = (end - start) * settings.first_step
    elif settings.num_steps is None:
        controller = _PIController(
            rtol=settings.rtol, atol=settings.atol, norm=_max_rms, first_step=settings.first_step
        )
    else:
        times = start + (end - start) * jnp.linspace(0, 1, settings.num_steps + 1, dtype=dtype)
        controller = diffrax.StepTo(times)
        max_steps = settings.num_steps
    adjoint = settings.adjoint
    return diffrax.diffeqsolve(
        diffrax.ODETerm(derivative),
        settings.solver,
        start,
        end,
        first_step,
        y0,
        args,
        saveat=saveat,
        stepsize_controller=controller,
        adjoint=_ADJOINTS[adjoint]() if isinstance(adjoint, str) else adjoint,
        max_steps=max_steps,
        throw=False,
    )


class _PIController(diffrax.PIDController):
    """A controller that knows its first step.

    Given to `diffeqsolve` the step would be checked while the program runs, by a call back to Python,
    and a compiled program that makes one cannot be kept in a file.
    """

    first_step: float = 0.05

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        """As diffrax's; times ascend here in both directions."""
        dt0 = jnp.asarray(self.first_step, jnp.result_type(t0))
        return super().init(terms, t0, t1, y0, dt0, args, func, error_order)


def _max_rms(tree: PyTree[Array]) -> Array:
    """The largest root mean square of an array: one mean over all of them would hide the error of
    the log-density, one number beside the many of a latent.
    """
    return jnp.max(jnp.stack([jnp.sqrt(jnp.mean(x**2)) for x in jax.tree.leaves(tree)]))


def _require(holds: bool, name: str, value: Any, expected: str) -> None:
    if not holds:
        raise ValueError(f"solver setting {name} must be {expected}; got {value!r}")


def _is_above_0(value: Any, kind: type = numbers.Real) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and 0 < value < math.inf


def _require_named(name: str, value: Any, names: Mapping[str, Any], kind: type) -> None:
    holds = value in names if isinstance(value, str) else isinstance(value, kind)
    _require(holds, name, value, f"one of {', '.join(names)}, or a diffrax.{kind.__name__}")
