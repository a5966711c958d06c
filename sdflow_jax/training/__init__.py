"""Training: state, step, loop, checkpoints and measurements."""
