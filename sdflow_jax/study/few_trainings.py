"""How far off a mean over few trainings may be: faces are many, trainings are not.

What faces make a mean differ by is known well, and taken for normally distributed. What trainings make it differ by
is estimated from few of them, and so has Student's t. The error is the sum of both, whose distribution is that of
Behrens (1929) and Fisher (1935) with one of the two variances known. Of two methods alike with three trainings each
it calls 2% to 6% different at 5%, whatever the shares of faces and of either's trainings; t for the whole would hardly
ever decide anything, and the normal distribution too much (`tests/study/test_areas.py`).
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import gammaincinv, ndtr, ndtri

_NUM_NODES = 200
_SHARES = np.linspace(0.0, 1.0, 101)


@functools.cache
def _mixture(degrees: float) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Student's t as a mixture of normal distributions: their variances, and their weights."""
    at, weights = np.polynomial.legendre.leggauss(_NUM_NODES)
    at, weights = (at + 1) / 2, weights / 2
    # Dense where chi squared is small: there the tails are.
    chi_squared = 2 * gammaincinv(degrees / 2, at**4)
    return degrees / chi_squared, weights * 4 * at**3


def joint_degrees(variances: Sequence[float], degrees: Sequence[float]) -> float:
    """Degrees of freedom of a sum of variances, each estimated from its own trainings (Satterthwaite 1946, Welch
    1947): as many as all have together where the variances are alike, and those of one where it is nearly all.

    Args:
      variances: as estimated.
      degrees: of freedom of each.

    Returns:
      Rounded down to a tenth; 0 if one of `degrees` is 0: nothing is known of its variance.
    """
    if not all(degrees):
        return 0.0
    scale = max(variances)
    if scale == 0:
        return float(sum(degrees))
    parts = [x / scale for x in variances]
    found = sum(parts) ** 2 / sum(x**2 / d for x, d in zip(parts, degrees, strict=True))
    return math.floor(10 * found + 1e-9) / 10


def p_value(deviations: float, share: float, degrees: float) -> float:
    """How often an error is at least so large, to either side.

    Args:
      deviations: the error in standard deviations.
      share: of its variance that is estimated from trainings, in [0, 1].
      degrees: of freedom of that estimate, at least 1.
    """
    variances, weights = _mixture(degrees)
    scales = np.sqrt(1 - share + share * variances)
    return float(np.sum(weights * 2 * ndtr(-abs(deviations) / scales)))


def widening(share: Float[np.ndarray, "*s"], degrees: float) -> Float[np.ndarray, "*s"]:
    """By how much wider a 95% interval is than that of a normal distribution of the same variance.

    Args:
      share: of the variance that is estimated from trainings, in [0, 1].
      degrees: of freedom of that estimate, at least 1.
    """
    return np.interp(share, _SHARES, _widenings(degrees))


@functools.cache
def _widenings(degrees: float) -> Float[np.ndarray, " n"]:
    """`widening` at `_SHARES`, by bisection."""
    normal, found = ndtri(0.975), []
    for share in _SHARES:
        low, high = 0.5, 100.0
        while high - low > 1e-6:
            middle = (low + high) / 2
            is_rare = p_value(middle * normal, share, degrees) < 0.05
            low, high = (low, middle) if is_rare else (middle, high)
        found.append((low + high) / 2)
    return np.array(found)
