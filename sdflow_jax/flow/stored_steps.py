"""The gradient of a solve from its stored steps: discretise, then differentiate, each step once.

A solve with an explicit Runge-Kutta method is a chain of steps. Going forward, where each step began is
kept: one state a step. Going back, every step is computed once more and differentiated, the last one
first. Step sizes are constants to the gradient, as they are in diffrax.

Recursive checkpoints find the same gradient for solvers of any kind and in bounded memory, but compute
a step's stages once more within each step.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

Derivative = Callable[[Array, PyTree, PyTree], PyTree]


def has_explicit_steps(solver: diffrax.AbstractSolver) -> bool:
    """Whether a step of this solver can be computed by `runge_kutta_step`."""
    tableau = getattr(solver, "tableau", None)
    return (
        isinstance(solver, diffrax.AbstractERK)
        and isinstance(tableau, diffrax.ButcherTableau)
        and tableau.a_diagonal is None
    )


def solve_storing_steps(
    integrate: Callable[[PyTree, PyTree, diffrax.SaveAt], diffrax.Solution],
    derivative: Derivative,
    solver: diffrax.AbstractERK,
    y0: PyTree[Array],
    args: PyTree[Array],
) -> tuple[PyTree[Array], dict[str, Any], Bool[Array, ""]]:
    """Solve, with a gradient for the starting point and the arguments.

    Args:
      integrate: solves from a starting point under arguments, and returns what it is told to save.
      derivative: of the latents, as for `solve`.
      solver: the explicit method.
      y0: the starting point.
      args: what the derivative depends on. Integer and boolean arrays among it have no gradient.

    Returns:
      Where the solve arrived, diffrax's statistics, and whether it succeeded.
    """

    @jax.custom_vjp
    def run(y0, args):
        solution = integrate(y0, args, diffrax.SaveAt(t1=True))
        y = jax.tree.map(lambda saved: saved[0], solution.ys)
        return y, solution.stats, has_succeeded(solution)

    def forward(y0, args):
        solution = integrate(y0, args, diffrax.SaveAt(t0=True, steps=True))
        count = solution.stats["num_accepted_steps"]
        y = jax.tree.map(lambda saved: saved[count], solution.ys)
        kept = (solution.ts, solution.ys, count, args)
        return (y, solution.stats, has_succeeded(solution)), kept

    def backward(kept, cotangents):
        # None, of an integer, stands for a zero of the type float0.
        return _pull_back(derivative, solver, *kept, cotangents[0])

    run.defvjp(forward, backward)
    return run(y0, args)


@equinox.filter_jit  # so that it is compiled once, outside other compiled functions too
def _pull_back(
    derivative: Derivative,
    solver: diffrax.AbstractERK,
    times: Float[Array, " k"],
    states: PyTree[Array],
    count: Int[Array, ""],
    args: PyTree[Array],
    of_end: PyTree[Array],
) -> tuple[PyTree[Array], PyTree[Array]]:
    """The gradients for the starting point and the arguments, from that for the end; None in place of those
    of arrays of integers and truth values.
    """
    smooth, others = equinox.partition(args, equinox.is_inexact_array)

    def before(number, found):
        of_state, of_args = found
        start = count - 1 - number

        def step(state, args):
            args = equinox.combine(args, others)
            return runge_kutta_step(
                derivative, solver.tableau, times[start], times[start + 1], state, args
            )

        _, pull_back = jax.vjp(step, jax.tree.map(lambda saved: saved[start], states), smooth)
        of_state, more = pull_back(of_state)
        return of_state, jax.tree.map(jnp.add, of_args, more)

    return jax.lax.fori_loop(0, count, before, (of_end, jax.tree.map(jnp.zeros_like, smooth)))


def runge_kutta_step(
    derivative: Derivative,
    tableau: diffrax.ButcherTableau,
    start: Array,
    end: Array,
    y: PyTree[Array],
    args: PyTree[Array],
) -> PyTree[Array]:
    """One step of an explicit Runge-Kutta method, without its estimate of the error.

    Args:
      derivative: of the latents, as for `solve`.
      tableau: the method's coefficients.
      start: the time at which the step begins.
      end: the time at which it ends, later or earlier.
      y: the state at the start.
      args: of the derivative.
    """
    size = end - start
    weights = np.trim_zeros(tableau.b_sol, "b")  # a last stage may serve the error alone
    shares = [0.0, *tableau.c]
    rows = [(), *tableau.a_lower]
    slopes: list[PyTree[Array]] = []
    for share, row in zip(shares[: len(weights)], rows[: len(weights)], strict=True):
        at = _advanced(y, size, row, slopes)
        slopes.append(derivative(start + float(share) * size, at, args))
    return _advanced(y, size, weights, slopes)


def _advanced(y: PyTree[Array], size: Array, row: Any, slopes: list[PyTree[Array]]) -> PyTree:
    """y + size * (the sum of the slopes, each by its coefficient)."""
    used = [(float(a), slope) for a, slope in zip(row, slopes, strict=True) if a]
    if not used:
        return y

    def advance(y, *parts):
        return y + size * sum(a * part for (a, _), part in zip(used, parts, strict=True))

    return jax.tree.map(advance, y, *(slope for _, slope in used))


def has_succeeded(solution: diffrax.Solution) -> Bool[Array, ""]:
    """Whether a solve came to its end."""
    return solution.result == diffrax.RESULTS.successful
