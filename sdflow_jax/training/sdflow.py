"""Training of SDFlow, of its ablation and of StyleFlow, which share the flow."""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from sdflow_jax.data import face_latents
from sdflow_jax.data.attribute_names import attribute_columns
from sdflow_jax.flow_editing import FlowEditing
from sdflow_jax.training import build
from sdflow_jax.training.export import export_networks
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.resumable import train_resumably
from sdflow_jax.training.sample_grid import make_drawing
from sdflow_jax.training.sharding import DataParallel
from sdflow_jax.training.state import TrainedNetworks, create_state, evaluation_networks
from sdflow_jax.training.step import make_train_step


def train_sdflow(
    config: Mapping[str, Any], workdir: pathlib.Path, dataset: pathlib.Path, interrupts: Interrupts
) -> None:
    """Train the flow, and the semantic encoder unless the frozen classifier stands in for it."""
    training, attributes = config["training"], tuple(config["attributes"])
    recipe = face_latents.read_recipe(dataset)
    devices = DataParallel(training["batch_size"])
    columns = attribute_columns(recipe["attributes"], attributes)
    batches, data = build.open_batches(config, dataset, columns)

    generator = build.load_generator(config)
    arguments = build.network_arguments(config, generator.style_dim)
    classifier, backbone = None, None
    if config["semantic_variables"] == "classifier":
        classifier, arguments_of_classifier = build.load_classifier_variables(config)
    elif config["initial_backbone"]:
        backbone = build.load_backbone(config["initial_backbone"])
    weights, settings = build.loss_settings(config)
    average_decay = config["optimizer"]["ema_decay"]
    graphs, state = create_state(
        functools.partial(build.build_networks, arguments, config["seed"], backbone),
        build.build_optimizer(config["optimizer"]),
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
        generator, *build.held_out_faces(dataset, training["num_sample_faces"]), attributes
    )

    def trained_networks(state) -> TrainedNetworks:
        networks = evaluation_networks(graphs, state)
        if classifier is None:
            return networks
        return TrainedNetworks(networks.flow, classifier)

    def editing(state) -> FlowEditing:
        networks = trained_networks(state)
        return FlowEditing(
            networks.flow,
            networks.semantic_encoder,
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
