"""Logistic regressions of attributes on w, which label faces that nobody has looked at."""

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

PENALTY = 0.01


@dataclasses.dataclass(frozen=True)
class Probe:
    """Probabilities of one attribute by a logistic regression on standardized w."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float

    def __call__(self, w: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities [n] of styles [n, 512]."""
        logits = (w - self.mean) / self.deviation @ self.weights + self.bias
        return expit(logits).astype(np.float32)


def fit_probe(w: NDArray[np.float32], labels: NDArray, *, penalty: float = PENALTY) -> Probe:
    """Fit to labels in [0, 1], soft ones included.

    Args:
      w: [n, 512].
      labels: [n].
      penalty: weight of half the squared norm of the weights.
    """
    mean, deviation = w.mean(0, dtype=np.float64), w.std(0, dtype=np.float64)
    x = (w - mean) / deviation

    def loss(parameters):
        logits = x @ parameters[:-1] + parameters[-1]
        value = np.mean(np.logaddexp(0.0, logits) - labels * logits)
        residual = (expit(logits) - labels) / len(x)
        gradient = np.append(x.T @ residual + penalty * parameters[:-1], residual.sum())
        return value + 0.5 * penalty * np.square(parameters[:-1]).sum(), gradient

    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return Probe(mean, deviation, found[:-1], float(found[-1]))
