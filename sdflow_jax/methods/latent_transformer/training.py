"""Training of the Latent Transformer: its latent classifier first, then the transformers."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sdflow_jax.data import face_latents, prepared
from sdflow_jax.data.training_latents import correlations, read_training_predictions
from sdflow_jax.files import networks
from sdflow_jax.files.attribute_names import attribute_columns
from sdflow_jax.files.roles import load_role
from sdflow_jax.images.precision import in_float32
from sdflow_jax.methods.latent_editing import LatentEditing, export_editing
from sdflow_jax.methods.latent_transformer.losses import (
    TERMS,
    latent_classifier_loss,
    transformer_losses,
)
from sdflow_jax.methods.latent_transformer.networks import AttributeTransformers, LatentClassifier
from sdflow_jax.methods.latent_transformer.settings import LatentTransformerSettings
from sdflow_jax.methods.method import RunSettings
from sdflow_jax.methods.readers import load_classifier_reader
from sdflow_jax.methods.sample_pictures import pictures_of
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.optimizer import build_optimizer
from sdflow_jax.training.resumable import train_resumably
from sdflow_jax.training.sharding import DataParallel
from sdflow_jax.training.state import Graphs, State, create_state, evaluation_networks
from sdflow_jax.training.step import Losses, TrainStep, make_train_step

_READ = ("w_plus", "predictions")  # of a face; its picture nobody looks at
CLASSIFIER_FILE = "latent_classifier.safetensors"


@in_float32
def train(
    settings: RunSettings, workdir: pathlib.Path, dataset: pathlib.Path, interrupts: Interrupts
) -> None:
    """Train both stages, each resumable, and write `workdir/latent_transformer`.

    The first stage keeps its checkpoints and measurements below `workdir/latent_classifier`.
    """
    own: LatentTransformerSettings = settings.own
    recipe = face_latents.read_recipe(dataset)
    devices = DataParallel(own.training.batch_size)
    num_styles, style_dim = recipe["latent_shape"]
    classifier_arguments = {
        "num_styles": num_styles,
        "style_dim": style_dim,
        "hidden_sizes": list(own.classifier_hidden_sizes),
        "num_attributes": len(recipe["attributes"]),
    }
    classifier = _train_classifier(
        settings, workdir, dataset, classifier_arguments, devices, interrupts
    )
    if classifier is None:
        return

    generator = load_role(settings.networks, "generator")
    reader, reader_arguments = load_classifier_reader(
        settings.networks["classifier"], settings.attributes
    )
    mover_arguments = {
        "num_attributes": len(settings.attributes),
        "num_styles": num_styles,
        "style_dim": style_dim,
    }
    graphs, state = create_state(
        lambda: AttributeTransformers(**mover_arguments, rngs=nnx.Rngs(settings.seed)),
        build_optimizer(own.training.optimizer),
        seed=settings.seed,
        keeps_average=False,
    )

    def editing(state: State) -> LatentEditing:
        return LatentEditing(
            evaluation_networks(graphs, state),
            reader,
            attributes=settings.attributes,
            image_size=recipe["image_size"],
        )

    batches, data = prepared.open_batches(
        dataset,
        range(len(recipe["attributes"])),
        batch_size=own.training.batch_size,
        seed=settings.seed,
        data=settings.data,
        fields=_READ,
    )
    state, is_done = train_resumably(
        devices.replicate(state),
        batches,
        _transformer_step(settings, dataset, graphs, classifier, devices),
        directory=workdir,
        schedule=own.training.schedule,
        data=data,
        devices=devices,
        interrupts=interrupts,
        pictures=pictures_of(own.training, dataset, generator, settings.attributes, editing),
        shown=("loss", *TERMS),
        title="transformers",
    )
    if is_done and jax.process_index() == 0:
        # Before the rest: `export_editing` ends with the file that makes the directory complete.
        file = workdir / "latent_transformer" / CLASSIFIER_FILE
        networks.save_network(file, classifier, classifier_arguments)
        directory = export_editing(
            workdir,
            "latent_transformer",
            editing(state),
            mover_arguments=mover_arguments,
            reader_arguments=reader_arguments,
            step=own.training.schedule.num_steps,
        )
        print(f"the trained networks are in {directory}")


def _train_classifier(
    settings: RunSettings,
    workdir: pathlib.Path,
    dataset: pathlib.Path,
    arguments: Mapping[str, Any],
    devices: DataParallel,
    interrupts: Interrupts,
) -> LatentClassifier | None:
    """The trained latent classifier, or None if an interrupt came first."""
    own: LatentTransformerSettings = settings.own
    graphs, state = create_state(
        lambda: LatentClassifier(**arguments, rngs=nnx.Rngs(settings.seed)),
        build_optimizer(own.training.optimizer),
        seed=settings.seed,
        keeps_average=False,
    )

    def losses(classifier, frozen, batch, key) -> Losses:
        del frozen, key  # there are none, and nothing is drawn
        loss = latent_classifier_loss(classifier, batch["w_plus"], batch["predictions"])
        return Losses({"cross_entropy": loss})

    batches, data = prepared.open_batches(
        dataset,
        range(arguments["num_attributes"]),
        batch_size=own.training.batch_size,
        seed=settings.seed,
        data=settings.data,
        fields=_READ,
    )
    schedule = dataclasses.replace(own.training.schedule, num_steps=own.classifier_steps)
    state, is_done = train_resumably(
        devices.replicate(state),
        batches,
        make_train_step(
            graphs, losses, weights={"cross_entropy": 1.0}, sharding=devices.replicated
        ),
        directory=workdir / "latent_classifier",
        schedule=schedule,
        data=data,
        devices=devices,
        interrupts=interrupts,
        title="latent classifier",
    )
    return evaluation_networks(graphs, state) if is_done else None


def _transformer_step(
    settings: RunSettings,
    dataset: pathlib.Path,
    graphs: Graphs,
    classifier: LatentClassifier,
    devices: DataParallel,
) -> TrainStep:
    attributes = face_latents.read_recipe(dataset)["attributes"]
    columns = attribute_columns(attributes, settings.attributes)
    correlation = jnp.asarray(correlations(read_training_predictions(dataset)), jnp.float32)

    def losses(transformers, frozen, batch, key) -> Losses:
        del key  # nothing is drawn
        terms = transformer_losses(
            transformers,
            frozen["classifier"],
            batch["w_plus"],
            columns=columns,
            correlation=correlation,
        )
        return Losses(terms)

    return make_train_step(
        graphs,
        losses,
        weights=settings.own.weights,
        frozen={"classifier": classifier},
        sharding=devices.replicated,
    )
