"""The error of an evaluation that cannot be."""


class EvaluationError(ValueError):
    """What was asked cannot be evaluated: no faces, or nobody to judge them."""
