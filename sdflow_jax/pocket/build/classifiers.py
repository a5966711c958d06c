"""The attribute classifiers: C, which SDFlow distills, and the evaluation classifier, which judges.

Few faces are annotated; a probe of w knows the rest a little worse. Both teach: annotations where
there are any, elsewhere the probe and a running average of the network itself (Tarvainen & Valpola
2017), where the two decide alike.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from numpy.typing import NDArray

from sdflow_jax.files import networks
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.pocket.build import trainer
from sdflow_jax.pocket.build.augmentation import augment
from sdflow_jax.pocket.build.optimizer import kernel_optimizer


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """One classifier's network and training."""

    arguments: Mapping[str, object]
    parity: int  # which seeds it may see: 0 even, 1 odd
    seed: int
    num_steps: int
    num_annotated: int  # of a batch
    num_others: int
    kernel_rate: float = 5e-3
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    average_decay: float = 0.99
    others_weight: float = 0.5


@dataclasses.dataclass(frozen=True)
class LabelledFaces:
    """Faces in memory.

    Attributes:
      variants: [v, n, 64, 64, 3], 8-bit: renders, and the student's pictures of the same codes.
      labels: [n, a] in [0, 1], NaN where unknown.
      guesses: [n, a] probabilities by the probe.
    """

    variants: NDArray[np.uint8]
    labels: NDArray[np.float32]
    guesses: NDArray[np.float32]

    def take(self, keep: NDArray) -> "LabelledFaces":
        """Some of the faces."""
        return LabelledFaces(self.variants[:, keep], self.labels[keep], self.guesses[keep])


def train_classifier(
    name: str, faces: LabelledFaces, settings: ClassifierSettings, folder: pathlib.Path
) -> nnx.Module:
    """Train on all of `faces`, already of the right parity; returns the averaged network, in evaluation mode."""
    network = networks.build("AttributeClassifier", settings.arguments, seed=settings.seed)
    optimizer = kernel_optimizer(
        network,
        settings.num_steps,
        kernel_rate=settings.kernel_rate,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    graph, state = nnx.split({"network": network, "optimizer": optimizer})
    average_graph, _ = nnx.split(nnx.view(network, use_running_average=True))
    state = nnx.to_pure_dict(state)
    state = jax.tree.map(jnp.array, {"learner": state, "average": state["network"]})

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, images, labels, guesses, key, has_opinion):
        images = to_signed(images)
        learner = nnx.merge(graph, state["learner"], copy=True)
        average = nnx.merge(average_graph, state["average"], copy=True)
        known = ~jnp.isnan(labels)
        opinion = jax.lax.stop_gradient(average(images))
        opinion = jnp.where(has_opinion, opinion, guesses)
        agreed = (opinion > 0.5) == (guesses > 0.5)
        target = jnp.where(known, labels, 0.5 * (guesses + opinion))
        weight = jnp.where(known, 1.0, settings.others_weight * agreed)

        def loss_fn(network):
            logits = network.logits(augment(key, images))
            losses = optax.sigmoid_binary_cross_entropy(logits, target)
            # Each attribute counts alike, however many of its labels the batch holds.
            loss = ((losses * weight).sum(0) / jnp.maximum(weight.sum(0), 1.0)).mean()
            told = jnp.where(known, losses, 0.0).sum(0) / jnp.maximum(known.sum(0), 1)
            return loss, told.mean()

        (loss, told), grads = nnx.value_and_grad(loss_fn, has_aux=True)(learner["network"])
        learner["optimizer"].update(learner["network"], grads)
        new = nnx.to_pure_dict(nnx.state(learner))
        average = optax.incremental_update(
            new["network"], state["average"], 1.0 - settings.average_decay
        )
        return {"learner": new, "average": average}, {"loss": loss, "annotated": told}

    has_annotation = ~np.isnan(faces.labels[:, 0])
    annotated, others = np.flatnonzero(has_annotation), np.flatnonzero(~has_annotation)

    def step(state, index):
        rng = np.random.default_rng((settings.seed, index))
        rows = np.concatenate(
            [rng.choice(annotated, settings.num_annotated), rng.choice(others, settings.num_others)]
        )
        variant = rng.integers(len(faces.variants), size=len(rows))
        key = jax.random.fold_in(jax.random.key(settings.seed), index)
        return update(
            state,
            faces.variants[variant, rows],
            faces.labels[rows],
            faces.guesses[rows],
            key,
            index >= 0.25 * settings.num_steps,
        )

    state = trainer.train(name, state, step, settings.num_steps, folder)
    trained = nnx.merge(average_graph, state["average"])
    trained.eval()
    return trained
