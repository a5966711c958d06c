"""From a config to the parts of a training run."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np
import optax
from flax import nnx
from numpy.typing import NDArray

from sdflow_jax import networks
from sdflow_jax.config import ROLES
from sdflow_jax.data import face_latents
from sdflow_jax.data.attribute_names import attribute_columns, attribute_names
from sdflow_jax.data.pipeline import describe_batches, training_batches
from sdflow_jax.data.sources import open_source
from sdflow_jax.flow.conditional_flow import ConditionalFlow
from sdflow_jax.losses import TERMS, LossSettings
from sdflow_jax.models.chosen_attributes import ChosenAttributes
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


def load_generator(config: Config) -> nnx.Module:
    """Load the frozen generator; `check_config` has seen that it takes the data set's latents."""
    return networks.load_network(config["networks"]["generator"], expected=ROLES["generator"][0])


def load_classifier_variables(config: Config) -> tuple[ChosenAttributes, dict[str, Any]]:
    """The frozen classifier as reader of the config's attributes, and its constructor arguments."""
    path = config["networks"]["classifier"]
    metadata = networks.read_metadata(path)
    columns = attribute_columns(attribute_names(metadata), config["attributes"])
    arguments = {"classifier": metadata["arguments"], "columns": list(columns)}
    reader = nnx.eval_shape(lambda: ChosenAttributes(**arguments, rngs=nnx.Rngs(0)))
    reader.classifier = networks.load_network(path, expected=ROLES["classifier"][0])
    return reader, arguments


def network_arguments(config: Config, style_dim: int) -> dict[str, dict[str, Any]]:
    """Constructor arguments of the trained networks, JSON-able; without "semantic_encoder" where
    the frozen classifier gives the semantic variables.
    """
    num_attributes = len(config["attributes"])
    flow = {"dim": style_dim, "num_conditions": num_attributes, "solver": dict(config["solver"])}
    encoder = {"num_attributes": num_attributes}
    for arguments, group in ((flow, config["flow"]), (encoder, config["semantic_encoder"])):
        arguments |= {key: list(x) if isinstance(x, tuple) else x for key, x in group.items()}
    if config["semantic_variables"] == "classifier":
        return {"flow": flow}
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
      arguments: "flow" and "semantic_encoder" -> constructor arguments; without the latter no
        semantic encoder is built.
      seed: of the initial weights.
      backbone: arrays that the semantic encoder's residual network starts from, as by
        `load_backbone`; None for random weights.

    Raises:
      NetworkFileError: if the residual networks do not have the same shapes.
    """
    rngs = nnx.Rngs(seed)
    if "semantic_encoder" not in arguments:
        return TrainedNetworks(ConditionalFlow(**arguments["flow"], rngs=rngs), None)
    encoder = SemanticEncoder(**arguments["semantic_encoder"], rngs=rngs)
    if backbone is not None:
        networks.load_arrays(encoder.backbone, backbone, source="config.initial_backbone")
    return TrainedNetworks(ConditionalFlow(**arguments["flow"], rngs=rngs), encoder)


def build_optimizer(optimizer: Config) -> optax.GradientTransformation:
    """Adam with warmup, an optional cosine decay and an optional limit of the gradient's norm.

    Updates of the semantic encoder's residual network are scaled by `backbone_rate`: one that starts
    as a trained classifier's has less to learn than the flow, and if it learned as fast, the two
    would come to agree on edits that nobody else recognises.
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
    parts.append(optax.masked(optax.scale(optimizer["backbone_rate"]), _of_backbone))
    return optax.chain(*parts)


def _of_backbone(parameters):
    """Which leaves of the trained networks' parameters are the encoder's residual network."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: (
            jax.tree_util.keystr(path[:2], simple=True, separator="/")
            == "semantic_encoder/backbone"
        ),
        parameters,
    )


def loss_settings(config: Config) -> tuple[dict[str, float], LossSettings]:
    """Weights of the terms that count, and what the losses compute."""
    losses = dict(config["losses"])
    weights = {name: losses.pop(name) for name in TERMS}
    active = {name: weight for name, weight in weights.items() if weight > 0}
    dtype = config["training"]["generator_dtype"]
    return active, LossSettings(
        terms=tuple(active),
        semantic_variables=config["semantic_variables"],
        generator_dtype=dtype,
        **losses,
    )


def open_batches(
    config: Config, dataset: pathlib.Path, columns: Sequence[int]
) -> tuple[grain.DatasetIterator, dict[str, Any]]:
    """Batches of the training split with these columns of the predictions, and their description
    for the checkpoints.
    """
    faces = face_latents.open_split(dataset, "train")
    order = {
        "batch_size": config["training"]["batch_size"],
        "seed": config["seed"],
        "process_count": jax.process_count(),
    }
    batches = training_batches(
        faces,
        columns,
        **order,
        process_index=jax.process_index(),
        num_threads=config["data"]["num_threads"],
        prefetch=config["data"]["prefetch"],
    )
    return batches, describe_batches(dataset.parent.name, len(faces), columns, **order)


def held_out_faces(dataset: pathlib.Path, count: int) -> tuple[NDArray, NDArray]:
    """Images (uint8) and W+ latents of the first faces kept from training, to draw them."""
    faces = face_latents.open_split(dataset, face_latents.held_out_split(dataset))
    chosen = [faces[i] for i in range(min(count, len(faces)))]
    return np.stack([face["image"] for face in chosen]), np.stack([f["w_plus"] for f in chosen])
