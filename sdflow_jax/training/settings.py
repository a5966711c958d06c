"""What the config groups `training` and `optimizer` must say where a method trains by steps."""

from collections.abc import Mapping
from typing import Any

from sdflow_jax.files.complaints import Complaints


def check_training(found: Complaints, config: Mapping[str, Any]) -> None:
    """Complain of values that cannot be meant."""
    optimizer, training = config["optimizer"], config["training"]
    found.require(optimizer["learning_rate"] > 0, "optimizer.learning_rate", "above 0")
    found.require(
        optimizer["backbone_rate"] >= 0,
        "optimizer.backbone_rate",
        "at least 0 (0 freezes the encoder's residual network)",
    )
    found.require(
        optimizer["schedule"] in ("constant", "cosine"),
        "optimizer.schedule",
        "'constant' or 'cosine'",
    )
    found.require(optimizer["warmup_steps"] >= 0, "optimizer.warmup_steps", "at least 0")
    found.require(
        optimizer["gradient_clip"] >= 0, "optimizer.gradient_clip", "at least 0 (0 clips nothing)"
    )
    found.require(
        0 <= optimizer["ema_decay"] < 1, "optimizer.ema_decay", "in [0, 1) (0 averages nothing)"
    )
    least = max(optimizer["warmup_steps"] + 1, training["num_steps"])
    found.require(
        optimizer["schedule"] != "cosine" or optimizer["decay_steps"] >= least,
        "optimizer.decay_steps",
        f"at least {least}: the cosine begins after optimizer.warmup_steps and ends at a rate of 0,"
        " before which training.num_steps must be done",
    )
    for name in ("num_steps", "batch_size", "log_every", "checkpoint_every", "keep_checkpoints"):
        found.require(training[name] >= 1, f"training.{name}", "at least 1")
    found.require(
        training["sample_every"] >= 0, "training.sample_every", "at least 0 (0 draws none)"
    )
