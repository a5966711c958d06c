"""From a config to the parts of a training run."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import optax
from flax import nnx
from numpy.typing import NDArray

from sdflow_jax import networks
from sdflow_jax.config import ROLES, ConfigError
from sdflow_jax.data import face_latents
from sdflow_jax.data.sources import open_source
from sdflow_jax.flow.conditional_flow import ConditionalFlow
from sdflow_jax.losses import TERMS, LossSettings
from sdflow_jax.models.semantic_encoder import SemanticEncoder
from sdflow_jax.training.state import TrainedNetworks

Config = Mapping[str, Any]


def prepare_data(config: Config, workdir: str | os.PathLike[str]) -> pathlib.Path:
    """Build the data set of a config, or find it already built.

    It lies in `config.data.directory`, or in `workdir/data` if that is empty.
    """
    encoder = config["networks"]["inversion_encoder"]
    image_size = networks.read_metadata(encoder)["arguments"].get("image_size", 256)
    source, description = open_source(config["data"], image_size)
    return face_latents.prepare(
        config["data"]["directory"] or pathlib.Path(workdir) / "data",
        source,
        description=description,
        inversion_encoder=encoder,
        classifier=config["networks"]["classifier"],
        batch_size=config["data"]["annotation_batch_size"],
    )


def load_generator(config: Config, latent_shape: tuple[int, int]) -> nnx.Module:
    """Load the frozen generator.

    Raises:
      ConfigError: if it does not take the data set's latents.
    """
    generator = networks.load_network(
        config["networks"]["generator"], expected=ROLES["generator"][0]
    )
    if (generator.num_styles, generator.style_dim) != tuple(latent_shape):
        raise ConfigError(
            f"the generator takes latents of shape {(generator.num_styles, generator.style_dim)},"
            f" the inversion encoder gives {tuple(latent_shape)};"
            " config.networks mixes networks of two generators"
        )
    return generator


def network_arguments(config: Config, style_dim: int) -> dict[str, dict[str, Any]]:
    """Constructor arguments of the trained networks, JSON-able."""
    num_attributes = len(config["attributes"])
    flow = {"dim": style_dim, "num_conditions": num_attributes, "solver": dict(config["solver"])}
    encoder = {"num_attributes": num_attributes}
    for arguments, group in ((flow, config["flow"]), (encoder, config["semantic_encoder"])):
        arguments |= {key: list(x) if isinstance(x, tuple) else x for key, x in group.items()}
    return {"flow": flow, "semantic_encoder": encoder}


def load_backbone(path: str) -> dict[str, NDArray]:
    """Arrays of the residual network in an attribute classifier's file, keyed as by `networks.flatten`."""
    return networks.flatten(networks.load_network(path, expected="AttributeClassifier").extractor)


def build_networks(
    arguments: Mapping[str, Mapping[str, Any]],
    seed: int,
    backbone: Mapping[str, NDArray] | None = None,
) -> TrainedNetworks:
    """The networks to train, freshly initialised.

    Args:
      arguments: "flow" and "semantic_encoder" -> constructor arguments.
      seed: of the initial weights.
      backbone: arrays that the semantic encoder's residual network starts from, as by
        `load_backbone`; None for random weights.

    Raises:
      NetworkFileError: if the residual networks do not have the same shapes.
    """
    rngs = nnx.Rngs(seed)
    encoder = SemanticEncoder(**arguments["semantic_encoder"], rngs=rngs)
    if backbone is not None:
        networks.load_arrays(encoder.backbone, backbone, source="config.initial_backbone")
    return TrainedNetworks(ConditionalFlow(**arguments["flow"], rngs=rngs), encoder)


def build_optimizer(optimizer: Config) -> optax.GradientTransformation:
    """Adam with warmup, an optional cosine decay and an optional limit of the gradient's norm."""
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
    return optax.chain(*parts)


def loss_settings(config: Config) -> tuple[dict[str, float], LossSettings]:
    """Weights of the terms that count, and what the losses compute."""
    losses = dict(config["losses"])
    weights = {name: losses.pop(name) for name in TERMS}
    active = {name: weight for name, weight in weights.items() if weight > 0}
    dtype = config["training"]["generator_dtype"]
    return active, LossSettings(terms=tuple(active), generator_dtype=dtype, **losses)
