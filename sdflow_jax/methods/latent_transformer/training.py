"""Training of the Latent Transformer: its latent classifier first, then the transformers."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from sdflow_jax.data import face_latents, prepared
from sdflow_jax.data.training_latents import correlations, read_training_latents
from sdflow_jax.files import networks
from sdflow_jax.files.attribute_names import attribute_columns
from sdflow_jax.methods.latent_editing import LatentEditing, export_editing
from sdflow_jax.methods.latent_transformer.losses import (
    TERMS,
    latent_classifier_loss,
    transformer_losses,
)
from sdflow_jax.methods.latent_transformer.networks import AttributeTransformers, LatentClassifier
from sdflow_jax.methods.readers import load_classifier_reader
from sdflow_jax.methods.sample_pictures import make_drawing
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.optimizer import build_optimizer
from sdflow_jax.training.resumable import train_resumably
from sdflow_jax.training.sharding import DataParallel, replicate
from sdflow_jax.training.state import Graphs, create_state, evaluation_networks
from sdflow_jax.training.step import TrainStep, next_state

CLASSIFIER_FILE = "latent_classifier.safetensors"


def train(
    config: Mapping[str, Any], workdir: pathlib.Path, dataset: pathlib.Path, interrupts: Interrupts
) -> None:
    """Train both stages, each resumable, and write `workdir/latent_transformer`.

    The first stage keeps its checkpoints and measurements below `workdir/latent_classifier`.
    """
    recipe = face_latents.read_recipe(dataset)
    devices = DataParallel(config["training"]["batch_size"])
    num_styles, style_dim = recipe["latent_shape"]
    classifier_arguments = {
        "num_styles": num_styles,
        "style_dim": style_dim,
        "hidden_sizes": list(config["latent_classifier"]["hidden_sizes"]),
        "num_attributes": len(recipe["attributes"]),
    }
    classifier = _train_classifier(
        config, workdir, dataset, classifier_arguments, devices, interrupts
    )
    if classifier is None:
        return

    generator = networks.load_network(config["networks"]["generator"], expected="Generator")
    reader, reader_arguments = load_classifier_reader(config)
    shown = prepared.held_out_faces(dataset, config["training"]["num_sample_faces"])
    draw = make_drawing(generator, *shown, config["attributes"])
    mover_arguments = {
        "num_attributes": len(config["attributes"]),
        "num_styles": num_styles,
        "style_dim": style_dim,
    }
    graphs, state = create_state(
        lambda: AttributeTransformers(**mover_arguments, rngs=nnx.Rngs(config["seed"])),
        build_optimizer(config["optimizer"]),
        seed=config["seed"],
        keeps_average=False,
    )

    def editing(state) -> LatentEditing:
        return LatentEditing(
            evaluation_networks(graphs, state),
            reader,
            attributes=config["attributes"],
            image_size=recipe["image_size"],
        )

    batches, data = prepared.open_batches(config, dataset, range(len(recipe["attributes"])))
    state, is_done = train_resumably(
        devices.replicate(state),
        batches,
        _transformer_step(config, dataset, graphs, classifier, devices),
        directory=workdir,
        training=config["training"],
        data=data,
        devices=devices,
        interrupts=interrupts,
        draw=lambda state: draw(editing(state)),
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
        )
        print(f"the trained networks are in {directory}")


def _train_classifier(config, workdir, dataset, arguments, devices, interrupts):
    """The trained latent classifier, or None if an interrupt came first."""
    graphs, state = create_state(
        lambda: LatentClassifier(**arguments, rngs=nnx.Rngs(config["seed"])),
        build_optimizer(config["optimizer"]),
        seed=config["seed"],
        keeps_average=False,
    )

    def loss(classifier, frozen, batch):
        del frozen  # nothing
        return {
            "cross_entropy": latent_classifier_loss(
                classifier, batch["w_plus"], batch["predictions"]
            )
        }

    batches, data = prepared.open_batches(config, dataset, range(arguments["num_attributes"]))
    training = {
        **config["training"],
        "num_steps": config["latent_classifier"]["num_steps"],
        "sample_every": 0,  # there is no edit to draw yet
    }
    state, is_done = train_resumably(
        devices.replicate(state),
        batches,
        _make_step(graphs, {}, {"cross_entropy": 1.0}, loss, devices),
        directory=workdir / "latent_classifier",
        training=training,
        data=data,
        devices=devices,
        interrupts=interrupts,
        draw=lambda state: np.zeros((1, 1, 3), np.uint8),
        title="latent classifier",
    )
    return evaluation_networks(graphs, state) if is_done else None


def _transformer_step(config, dataset, graphs, classifier, devices) -> TrainStep:
    latents = read_training_latents(dataset)
    columns = attribute_columns(latents.attributes, config["attributes"])
    correlation = jnp.asarray(correlations(latents.predictions), jnp.float32)

    def loss(transformers, frozen, batch):
        return transformer_losses(
            transformers,
            frozen["classifier"],
            batch["w_plus"],
            columns=columns,
            correlation=correlation,
        )

    weights = {name: config["latent_transformer"][name] for name in TERMS}
    return _make_step(graphs, {"classifier": classifier}, weights, loss, devices)


def _make_step(
    graphs: Graphs,
    frozen: Mapping[str, nnx.Module],
    weights: Mapping[str, float],
    losses: Callable[..., dict[str, Array]],
    devices: DataParallel,
) -> TrainStep:
    """The compiled step that lowers a weighted sum of `losses(networks, frozen, batch)`."""
    frozen_graph, frozen_arrays = nnx.split(dict(frozen))

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=devices.replicated)
    def train_step(state, frozen_arrays, batch):
        trained = nnx.merge(graphs.training, state["trained"])
        frozen = nnx.merge(frozen_graph, frozen_arrays)

        def loss_fn(networks):
            terms = losses(networks, frozen, batch)
            return sum(weights[name] * terms[name] for name in terms), terms

        (loss, terms), gradients = nnx.value_and_grad(loss_fn, has_aux=True)(trained["networks"])
        trained["optimizer"].update(trained["networks"], gradients)
        measured = {
            "loss": loss,
            **terms,
            "gradient_norm": optax.tree.norm(nnx.to_pure_dict(gradients)),
            "success": jnp.asarray(True),  # nothing is solved that could fail
        }
        return next_state(state, trained, 0.0), measured

    arrays = replicate(nnx.to_pure_dict(frozen_arrays), devices.replicated)
    return lambda state, batch: train_step(state, arrays, _without_images(batch))


def _without_images(batch: Mapping[str, Array]) -> dict[str, Array]:
    return {name: batch[name] for name in ("w_plus", "predictions")}
