"""The one error that reading and converting checkpoints raises."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, hostile, or does not hold what was asked for."""
