"""What an editing method must offer to be measured, and the error when it cannot be."""

from sdflow_jax.editing_methods import EditingMethod

__all__ = ["EditingMethod", "EvaluationError"]


class EvaluationError(ValueError):
    """What was asked cannot be evaluated: no faces, or nobody to judge them."""
