"""The update rule that a config describes: Adam with warmup, decay and a limit of the gradient."""

from collections.abc import Mapping
from typing import Any

import optax


def build_optimizer(
    optimizer: Mapping[str, Any], *further: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Adam with warmup, an optional cosine decay and an optional limit of the gradient's norm.

    Args:
      optimizer: the config group.
      *further: what else is done to an update, after Adam.
    """
    rate, warmup = optimizer["learning_rate"], optimizer["warmup_steps"]
    if optimizer["schedule"] == "cosine":
        main = optax.cosine_decay_schedule(rate, max(1, optimizer["decay_steps"] - warmup))
    else:
        main = optax.constant_schedule(rate)
    schedule = (
        optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), main], [warmup])
        if warmup
        else main
    )
    parts = [optax.adam(schedule, b1=optimizer["b1"], b2=optimizer["b2"])]
    if optimizer["gradient_clip"]:
        parts.insert(0, optax.clip_by_global_norm(optimizer["gradient_clip"]))
    return optax.chain(*parts, *further)
