"""Training of SDFlow, of its ablation and of StyleFlow, and what it leaves behind."""

import functools
import pathlib

import jax

from sdflow_jax.data import face_latents, prepared
from sdflow_jax.files.attribute_names import attribute_columns
from sdflow_jax.files.roles import load_role
from sdflow_jax.images.precision import in_float32
from sdflow_jax.methods.method import RunSettings
from sdflow_jax.methods.readers import load_classifier_reader
from sdflow_jax.methods.sample_pictures import pictures_of
from sdflow_jax.methods.sdflow.editing import FlowEditing, export_editing
from sdflow_jax.methods.sdflow.networks import (
    build_networks,
    build_sdflow_optimizer,
    load_backbone,
    network_arguments,
)
from sdflow_jax.methods.sdflow.settings import SDFlowSettings
from sdflow_jax.methods.sdflow.step import REQUIREMENTS, make_sdflow_step
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.resumable import train_resumably
from sdflow_jax.training.sharding import DataParallel
from sdflow_jax.training.state import State, create_state, evaluation_networks


@in_float32
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

    generator = load_role(settings.networks, "generator")
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
        keeps_average=own.average_decay > 0,
    )
    train_step = make_sdflow_step(
        graphs,
        generator,
        classifier,
        weights=own.weights,
        settings=own.losses,
        average_decay=own.average_decay,
        sharding=devices.replicated,
    )

    def editing(state: State) -> FlowEditing:
        trained = evaluation_networks(graphs, state)
        return FlowEditing(
            trained.flow,
            trained.semantic_encoder if classifier is None else classifier,
            attributes=attributes,
            image_size=recipe["image_size"],
            num_rows=recipe["latent_shape"][0],
        )

    state, is_done = train_resumably(
        devices.replicate(state),
        batches,
        train_step,
        directory=workdir,
        schedule=training.schedule,
        data=data,
        devices=devices,
        interrupts=interrupts,
        pictures=pictures_of(training, dataset, generator, attributes, editing),
        requirements=REQUIREMENTS,
        shown=("loss", *own.weights, "evaluations_forward", "evaluations_inverse"),
    )
    if is_done and jax.process_index() == 0:
        if classifier is not None:
            arguments["semantic_encoder"] = classifier_arguments
        directory = export_editing(
            workdir, editing(state), arguments, step=training.schedule.num_steps
        )
        print(f"the trained networks are in {directory}")
