"""The update rule that a config describes: Adam with warmup, decay and a limit of the gradient."""

import optax

from sdflow_jax.training.settings import OptimizerSettings


def build_optimizer(
    settings: OptimizerSettings, *further: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Adam with warmup, an optional cosine decay and an optional limit of the gradient's norm.

    Args:
      settings: rates, schedule and limit.
      *further: what else is done to an update, after Adam.
    """
    rate, warmup = settings.learning_rate, settings.warmup_steps
    if settings.schedule == "cosine":
        main = optax.cosine_decay_schedule(rate, max(1, settings.decay_steps - warmup))
    else:
        main = optax.constant_schedule(rate)
    schedule = (
        optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), main], [warmup])
        if warmup
        else main
    )
    parts = [optax.adam(schedule, b1=settings.b1, b2=settings.b2)]
    if settings.gradient_clip:
        parts.insert(0, optax.clip_by_global_norm(settings.gradient_clip))
    return optax.chain(*parts, *further)
