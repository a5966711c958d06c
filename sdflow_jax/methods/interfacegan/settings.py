"""What InterFaceGAN alone reads of a config."""

from collections.abc import Mapping
from typing import Any

from sdflow_jax.files.complaints import Complaints


def check(config: Mapping[str, Any]) -> list[str]:
    """One line for every mistake in the group `interfacegan`."""
    found, settings = Complaints(config), config["interfacegan"]
    found.require(0 < settings["extremes"] <= 0.5, "interfacegan.extremes", "in (0, 0.5]")
    found.require(0 < settings["train_share"] < 1, "interfacegan.train_share", "in (0, 1)")
    found.require(settings["penalty"] > 0, "interfacegan.penalty", "above 0")
    return found.lines
