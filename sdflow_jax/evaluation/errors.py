"""What is raised where nothing can be evaluated."""


class EvaluationError(ValueError):
    """What was asked cannot be evaluated: no faces, or nobody to judge them."""
