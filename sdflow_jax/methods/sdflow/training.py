"""Training of SDFlow, of its ablation and of StyleFlow, and what it leaves behind."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from sdflow_jax.data import face_latents, prepared
from sdflow_jax.files import networks
from sdflow_jax.files.attribute_names import attribute_columns
from sdflow_jax.methods.readers import load_classifier_reader
from sdflow_jax.methods.sample_pictures import make_drawing
from sdflow_jax.methods.sdflow.editing import FlowEditing
from sdflow_jax.methods.sdflow.networks import (
    TrainedNetworks,
    build_networks,
    build_sdflow_optimizer,
    load_backbone,
    network_arguments,
)
from sdflow_jax.methods.sdflow.settings import loss_settings
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.resumable import train_resumably
from sdflow_jax.training.sharding import DataParallel
from sdflow_jax.training.state import create_state, evaluation_networks
from sdflow_jax.training.step import make_train_step


def train(
    config: Mapping[str, Any], workdir: pathlib.Path, dataset: pathlib.Path, interrupts: Interrupts
) -> None:
    """Train the flow, and the semantic encoder unless the frozen classifier stands in for it."""
    training, attributes = config["training"], tuple(config["attributes"])
    recipe = face_latents.read_recipe(dataset)
    devices = DataParallel(training["batch_size"])
    columns = attribute_columns(recipe["attributes"], attributes)
    batches, data = prepared.open_batches(config, dataset, columns)

    generator = networks.load_network(config["networks"]["generator"], expected="Generator")
    arguments = network_arguments(config, generator.style_dim)
    classifier, backbone = None, None
    if config["semantic_variables"] == "classifier":
        classifier, arguments_of_classifier = load_classifier_reader(config)
    elif config["initial_backbone"]:
        backbone = load_backbone(config["initial_backbone"])
    weights, settings = loss_settings(config)
    average_decay = config["optimizer"]["ema_decay"]
    graphs, state = create_state(
        functools.partial(build_networks, arguments, config["seed"], backbone),
        build_sdflow_optimizer(config["optimizer"]),
        seed=config["seed"],
        keeps_average=average_decay > 0,
    )
    train_step = make_train_step(
        graphs,
        generator,
        classifier,
        weights=weights,
        settings=settings,
        average_decay=average_decay,
        sharding=devices.replicated,
    )
    draw = make_drawing(
        generator, *prepared.held_out_faces(dataset, training["num_sample_faces"]), attributes
    )

    def trained_networks(state) -> TrainedNetworks:
        trained = evaluation_networks(graphs, state)
        if classifier is None:
            return trained
        return TrainedNetworks(trained.flow, classifier)

    def editing(state) -> FlowEditing:
        trained = trained_networks(state)
        return FlowEditing(
            trained.flow,
            trained.semantic_encoder,
            attributes=attributes,
            image_size=recipe["image_size"],
        )

    state, is_done = train_resumably(
        devices.replicate(state),
        batches,
        train_step,
        directory=workdir,
        training=training,
        data=data,
        devices=devices,
        interrupts=interrupts,
        draw=lambda state: draw(editing(state)),
    )
    if is_done and jax.process_index() == 0:
        if classifier is not None:
            arguments["semantic_encoder"] = arguments_of_classifier
        directory = export_networks(
            workdir,
            trained_networks(state),
            arguments,
            attributes=attributes,
            image_size=recipe["image_size"],
            step=training["num_steps"],
        )
        print(f"the trained networks are in {directory}")


def export_networks(
    workdir: pathlib.Path,
    trained: TrainedNetworks,
    arguments: Mapping[str, Mapping[str, Any]],
    *,
    attributes: Sequence[str],
    image_size: int,
    step: int,
) -> pathlib.Path:
    """Write `sdflow/flow.safetensors` and `sdflow/semantic_encoder.safetensors` below `workdir`.

    Args:
      workdir: the run's directory.
      trained: the networks.
      arguments: "flow" and "semantic_encoder" -> the arguments that built them.
      attributes: names of the semantic variables, kept as the note `attributes`.
      image_size: side of the images that the semantic encoder was trained on, kept as a note.
      step: steps trained, kept as a note.

    Returns:
      The directory of the two files.
    """
    directory = workdir / "sdflow"
    notes = {"attributes": ",".join(attributes), "image_size": str(image_size), "step": str(step)}
    for name in ("flow", "semantic_encoder"):
        file = directory / f"{name}.safetensors"
        networks.save_network(file, getattr(trained, name), arguments[name], notes=notes)
    return directory
