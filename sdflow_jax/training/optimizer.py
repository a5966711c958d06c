"""The update rule that a config describes: Adam with warmup, decay and a limit of the gradient."""

import jax.numpy as jnp
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
    parts = [optax.adam(in_floats(schedule), b1=settings.b1, b2=settings.b2)]
    if settings.gradient_clip:
        parts.insert(0, optax.clip_by_global_norm(settings.gradient_clip))
    return optax.chain(*parts, *further)


def in_floats(schedule: optax.Schedule) -> optax.Schedule:
    """The same schedule, which is given the count of steps as a float: optax's own compare counts with
    floats, and strict promotion of types refuses that.
    """
    return lambda count: schedule(jnp.asarray(count, jnp.float32))
