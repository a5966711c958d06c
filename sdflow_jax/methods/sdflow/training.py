"""Training of SDFlow, of its ablation and of StyleFlow, and what it leaves behind."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from sdflow_jax.data import face_latents, prepared
from sdflow_jax.files import networks
from sdflow_jax.files.attribute_names import attribute_columns
from sdflow_jax.methods.method import RunSettings
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
from sdflow_jax.methods.sdflow.settings import SDFlowSettings
from sdflow_jax.methods.sdflow.step import REQUIREMENTS, make_sdflow_step
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.loop import Pictures
from sdflow_jax.training.resumable import train_resumably
from sdflow_jax.training.sharding import DataParallel
from sdflow_jax.training.state import create_state, evaluation_networks


def train(
    settings: RunSettings, workdir: pathlib.Path, dataset: pathlib.Path, interrupts: Interrupts
) -> None:
    """Train the flow, and the semantic encoder unless the frozen classifier stands in for it."""
    own: SDFlowSettings = settings.own
    training, optimizer, attributes = own.training, own.training.optimizer, settings.attributes
    recipe = face_latents.read_recipe(dataset)
    devices = DataParallel(training.batch_size)
    columns = attribute_columns(recipe["attributes"], attributes)
    batches, data = prepared.open_batches(
        dataset,
        columns,
        batch_size=training.batch_size,
        seed=settings.seed,
        data=settings.data,
    )

    generator = networks.load_network(settings.networks["generator"], expected="Generator")
    arguments = network_arguments(
        own, num_attributes=len(attributes), style_dim=generator.style_dim
    )
    classifier, backbone = None, None
    if own.semantic_encoder is None:
        classifier, classifier_arguments = load_classifier_reader(
            settings.networks["classifier"], attributes
        )
    elif own.initial_backbone:
        backbone = load_backbone(own.initial_backbone)
    graphs, state = create_state(
        functools.partial(build_networks, arguments, settings.seed, backbone),
        build_sdflow_optimizer(optimizer, backbone_rate=own.backbone_rate),
        seed=settings.seed,
        keeps_average=optimizer.ema_decay > 0,
    )
    train_step = make_sdflow_step(
        graphs,
        generator,
        classifier,
        weights=own.weights,
        settings=own.losses,
        average_decay=optimizer.ema_decay,
        sharding=devices.replicated,
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

    pictures = None
    if training.sample_every:
        shown = prepared.held_out_faces(dataset, training.num_sample_faces)
        draw = make_drawing(generator, *shown, attributes)
        pictures = Pictures(training.sample_every, lambda state: draw(editing(state)))
    state, is_done = train_resumably(
        devices.replicate(state),
        batches,
        train_step,
        directory=workdir,
        schedule=training.schedule,
        data=data,
        devices=devices,
        interrupts=interrupts,
        pictures=pictures,
        requirements=REQUIREMENTS,
        shown=("loss", *own.weights, "evaluations_forward", "evaluations_inverse"),
    )
    if is_done and jax.process_index() == 0:
        if classifier is not None:
            arguments["semantic_encoder"] = classifier_arguments
        directory = export_networks(
            workdir,
            trained_networks(state),
            arguments,
            attributes=attributes,
            image_size=recipe["image_size"],
            step=training.schedule.num_steps,
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
