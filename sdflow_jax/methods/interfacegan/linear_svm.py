"""The soft-margin linear support vector machine, solved to high precision.

Cortes and Vapnik, "Support-vector networks" (1995): minimise |w|^2 / 2 + C * sum_i max(0, 1 - y_i
(w . x_i + b)). The dual is a quadratic program with box constraints and one equality; an interior
point method (Mehrotra's predictor and corrector; Nocedal and Wright, "Numerical Optimization",
chapter 16.6) needs some twenty linear systems, whose size is the smaller of the number of examples
and the number of features.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import lu_factor, lu_solve

MAX_ITERATIONS = 200
_STEP_TO_BOUNDARY = 0.995


def fit_linear_svm(
    features: Float[np.ndarray, "n d"],
    labels: Float[np.ndarray, "n"],
    *,
    penalty: float = 1.0,
    tolerance: float = 1e-9,
) -> tuple[Float[np.ndarray, "d"], float]:
    """The separating hyperplane `w . x + b = 0`.

    Args:
      features: examples, one a row.
      labels: +1 or -1.
      penalty: C, the price of a margin violation.
      tolerance: bound on the mean complementarity and on the residuals, relative to C and to the
        features.

    Returns:
      w and b, in float64.

    Raises:
      ValueError: if the labels are not +1 and -1 with both present, or do not fit the features.
      RuntimeError: if the solver does not reach the tolerance.
    """
    x = np.asarray(features, np.float64)
    y = np.asarray(labels, np.float64)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"expected features (n, d) and labels (n,), got {x.shape} and {y.shape}")
    if set(np.unique(y)) != {-1.0, 1.0}:
        raise ValueError(f"expected labels -1 and +1, both present, got {np.unique(y)[:5]}")
    if not np.isfinite(x).all():
        raise ValueError("expected finite features, got NaN or infinity")
    center = x.mean(axis=0)  # moves b only, and keeps the systems well conditioned
    z = y[:, None] * (x - center)
    scale = np.sqrt(np.mean(np.sum(z**2, axis=1))) or 1.0
    dual, offset = _solve_dual(z / scale, y, penalty * scale**2, tolerance)
    w = (z / scale).T @ dual / scale
    return w, float(offset - w @ center)


class _Iterate(NamedTuple):
    """Where the interior point method stands; all but `b` are positive."""

    a: np.ndarray  # dual variables
    slack: np.ndarray  # upper - a, kept exact by equal and opposite steps
    low: np.ndarray  # multipliers of a >= 0
    high: np.ndarray  # multipliers of a <= upper
    b: float  # multiplier of y . a = 0

    def moved(self, step: "_Iterate", length: float) -> "_Iterate":
        return _Iterate(
            *(value + length * change for value, change in zip(self, step, strict=True))
        )

    def longest(self, step: "_Iterate") -> float:
        """The longest step, at most 1, that keeps the positive parts from becoming negative."""
        pairs = zip(self[:4], step[:4], strict=True)
        return min(np.min(-value[d < 0] / d[d < 0], initial=1.0) for value, d in pairs)

    def gap(self) -> float:
        """Mean complementarity."""
        return (self.a @ self.low + self.slack @ self.high) / (2 * len(self.a))


def _solve_dual(
    z: np.ndarray, y: np.ndarray, upper: float, tolerance: float
) -> tuple[np.ndarray, float]:
    """Minimise |z^T a|^2 / 2 - sum(a) subject to y . a = 0 and 0 <= a <= upper.

    Returns a and the multiplier of y, which is the offset of the hyperplane.
    """
    half, ones = np.full(len(y), upper / 2), np.ones(len(y))
    at = _Iterate(half, half, ones, ones, 0.0)
    for _ in range(MAX_ITERATIONS):
        stationarity = z @ (z.T @ at.a) - 1 + at.b * y - at.low + at.high
        feasibility = y @ at.a
        gap = at.gap()
        worst = max(gap / min(1, upper), np.abs(stationarity).max(), abs(feasibility))
        if worst < tolerance:
            return at.a, at.b
        step_towards = _newton(at, z, y, stationarity, feasibility)
        predictor = step_towards(0.0, 0.0)
        predicted = at.moved(predictor, at.longest(predictor)).gap()
        target = gap * (predicted / gap) ** 3
        step = step_towards(
            target - predictor.a * predictor.low, target - predictor.slack * predictor.high
        )
        at = at.moved(step, min(1.0, _STEP_TO_BOUNDARY * at.longest(step)))
    raise RuntimeError(
        f"the support vector machine did not converge in {MAX_ITERATIONS} steps, gap {gap:.1e}"
    )


def _newton(at: _Iterate, z: np.ndarray, y: np.ndarray, stationarity: np.ndarray, feasibility):
    """The step as a function of the complementarity products to aim at; one factorisation serves
    all.
    """
    solve = _factor(z, at.low / at.a + at.high / at.slack)
    solved_y = solve(y)

    def step(low_target: np.ndarray | float, high_target: np.ndarray | float) -> _Iterate:
        rhs = -stationarity + low_target / at.a - at.low - high_target / at.slack + at.high
        solved = solve(rhs)
        b = (y @ solved + feasibility) / (y @ solved_y)
        a = solved - b * solved_y
        low = (low_target - at.low * a) / at.a - at.low
        high = (high_target + at.high * a) / at.slack - at.high
        return _Iterate(a, -a, low, high, b)

    return step


def _factor(z: np.ndarray, diagonal: np.ndarray):
    """A solver for (z z^T + diag(diagonal)) x = r, by the smaller factorisation.

    By LU and not Cholesky: near the end the diagonal spans so many orders of magnitude that rounding makes the
    matrix of nearly collinear features (the styles of one face) indefinite.
    """
    n, d = z.shape
    if n <= d:
        factor = lu_factor(z @ z.T + np.diag(diagonal))
        return lambda r: lu_solve(factor, r)
    scaled = z / diagonal[:, None]
    inner = lu_factor(np.eye(d) + z.T @ scaled)  # Woodbury

    def solve(r: np.ndarray) -> np.ndarray:
        first = r / diagonal
        return first - scaled @ lu_solve(inner, z.T @ first)

    return solve
