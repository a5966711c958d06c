"""What the Latent Transformer alone reads of a config."""

from collections.abc import Mapping
from typing import Any

from sdflow_jax.files.complaints import Complaints
from sdflow_jax.methods.latent_transformer.losses import TERMS
from sdflow_jax.training.settings import check_training


def check(config: Mapping[str, Any]) -> list[str]:
    """One line for every mistake in what the Latent Transformer reads of a config."""
    found = Complaints(config)
    check_training(found, config)
    for name in TERMS:
        found.require(
            config["latent_transformer"][name] >= 0,
            f"latent_transformer.{name}",
            "a weight of at least 0",
        )
    found.require(
        config["latent_transformer"]["classification"] > 0,
        "latent_transformer.classification",
        "above 0: nothing else asks for an edit",
    )
    found.require(
        config["latent_classifier"]["num_steps"] >= 1, "latent_classifier.num_steps", "at least 1"
    )
    return found.lines
