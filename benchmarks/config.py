"""The configs that are benchmarked, and where their training begins."""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from flax import nnx

from sdflow_jax.files.config_files import read_config
from sdflow_jax.files.run_config import to_json
from sdflow_jax.methods.method import RunSettings
from sdflow_jax.methods.sdflow.networks import (
    build_networks,
    build_sdflow_optimizer,
    load_backbone,
    network_arguments,
)
from sdflow_jax.training.state import Graphs, State, create_state

_CONFIGS = pathlib.Path(__file__).parent.parent / "configs"


def with_overrides(name: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A config file of the repository as plain values, with some of them changed by dotted keys."""
    config = read_config(_CONFIGS / name)
    config.update_from_flattened_dict(overrides)
    return to_json(config)


def first_state(run: RunSettings, generator: nnx.Module) -> tuple[Graphs, State]:
    """SDFlow's networks and optimizer before the first step, as `create_state` gives them."""
    arguments = network_arguments(
        run.own, num_attributes=len(run.attributes), style_dim=generator.style_dim
    )
    backbone = load_backbone(run.own.initial_backbone)
    return create_state(
        functools.partial(build_networks, arguments, run.seed, backbone),
        build_sdflow_optimizer(run.own.training.optimizer, backbone_rate=run.own.backbone_rate),
        seed=run.seed,
        keeps_average=False,
    )
