"""Train the pocket classifiers: C, which SDFlow distills, and the evaluation classifier, which judges.

Both learn Male and Young from soft labels on every face, and the annotated attributes from few annotated faces. The
others are drawn on through a mean teacher (Tarvainen & Valpola, 2017): on faces without annotation the network matches,
under augmentation, what the running average of its own weights says of the plain face.
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
from scipy.stats import rankdata

from sdflow_jax.files import networks
from sdflow_jax.pocket.build import trainer
from sdflow_jax.pocket.build.augmentation import augment


@dataclasses.dataclass(frozen=True)
class ClassifierSettings:
    """One classifier's network and training."""

    arguments: Mapping[str, object]
    parity: int  # which seeds it may see: 0 even, 1 odd
    seed: int
    num_steps: int
    num_annotated: int = 24  # of a batch
    num_others: int = 40
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    average_decay: float = 0.995
    consistency: float = 1.0


@dataclasses.dataclass(frozen=True)
class LabelledFaces:
    """Faces in memory. `labels` is [n, 6] in the order of `labels.ATTRIBUTES`, NaN where unknown.

    `variants` are [v, n, 64, 64, 3]: the faces themselves and, once there is an autoencoder, their reconstructions.
    """

    variants: NDArray[np.uint8]
    labels: NDArray[np.float32]

    def batch(self, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Images of the rows, each in a variant drawn at random, and their labels."""
        return self.variants[rng.integers(len(self.variants), size=len(rows)), rows], self.labels[
            rows
        ]


def train_classifier(
    name: str,
    faces: LabelledFaces,
    settings: ClassifierSettings,
    folder: pathlib.Path,
    *,
    initial: nnx.Module,
) -> nnx.Module:
    """Train on all of `faces` (already of the right parity and split); returns the averaged network, in eval mode.

    Training starts from the weights of `initial`.
    """
    network = networks.build("AttributeClassifier", settings.arguments, seed=settings.seed)
    networks.load_arrays(network, networks.flatten(initial), source=name)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, 200, settings.num_steps
    )
    transform = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(schedule, b2=0.99, weight_decay=settings.weight_decay),
    )
    optimizer = nnx.Optimizer(network, transform, wrt=nnx.Param)
    graph, state = nnx.split({"network": network, "optimizer": optimizer})
    average_graph, _ = nnx.split(nnx.view(network, use_running_average=True))
    state = nnx.to_pure_dict(state)
    state = {"learner": state, "average": state["network"]}
    state = jax.tree.map(jnp.array, state)

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, images, labels, key, ramp):
        images = images.astype(jnp.float32) / 127.5 - 1.0
        learner = nnx.merge(graph, state["learner"], copy=True)
        teacher = nnx.merge(average_graph, state["average"], copy=True)
        known = ~jnp.isnan(labels)
        guess = jax.lax.stop_gradient(teacher(images))
        target = jnp.where(known, labels, guess)
        weight = jnp.where(known, 1.0, ramp * settings.consistency)

        def loss_fn(network):
            logits = network.logits(augment(key, images))
            losses = optax.sigmoid_binary_cross_entropy(logits, target)
            # Each attribute counts alike, however many of its labels the batch holds.
            per_attribute = (losses * weight).sum(0) / jnp.maximum(weight.sum(0), 1.0)
            return per_attribute.mean(), jnp.where(known, losses, 0.0).sum(0) / jnp.maximum(
                known.sum(0), 1
            )

        (loss, supervised), grads = nnx.value_and_grad(loss_fn, has_aux=True)(learner["network"])
        learner["optimizer"].update(learner["network"], grads)
        new = nnx.to_pure_dict(nnx.state(learner))
        average = optax.incremental_update(
            new["network"], state["average"], 1.0 - settings.average_decay
        )
        return {"learner": new, "average": average}, {"loss": loss, "glasses": supervised[0]}

    annotated = np.flatnonzero(~np.isnan(faces.labels[:, :4]).all(1))
    others = np.flatnonzero(np.isnan(faces.labels[:, :4]).all(1))

    def step(state, index):
        rng = np.random.default_rng((settings.seed, index))
        rows = np.concatenate(
            [rng.choice(annotated, settings.num_annotated), rng.choice(others, settings.num_others)]
        )
        images, labels = faces.batch(rows, rng)
        key = jax.random.fold_in(jax.random.key(settings.seed), index)
        return update(state, images, labels, key, min(1.0, index / (0.3 * settings.num_steps)))

    state = trainer.train(name, state, step, settings.num_steps, folder)
    trained = nnx.merge(average_graph, state["average"])
    trained.eval()
    return trained


def predict(
    classifier: nnx.Module, images: NDArray[np.uint8], batch: int = 128
) -> NDArray[np.float32]:
    """Probabilities [n, a] of uint8 images."""
    graph, state = nnx.split(classifier)

    @jax.jit
    def run(state, chunk):
        return nnx.merge(graph, state)(chunk.astype(jnp.float32) / 127.5 - 1.0)

    parts = []
    for start in range(0, len(images), batch):
        chunk = images[start : start + batch]
        spare = batch - len(chunk)
        parts.append(
            np.asarray(run(state, np.pad(chunk, ((0, spare), *[(0, 0)] * 3)))[: len(chunk)])
        )
    return np.concatenate(parts)


def area_under_curve(scores: NDArray, labels: NDArray) -> float:
    """Area under the receiver operating curve over the labelled (not NaN) entries."""
    known = ~np.isnan(labels)
    scores, positive = scores[known], labels[known] > 0.5
    ranks = rankdata(scores)
    num_positive, num_negative = positive.sum(), (~positive).sum()
    return float(
        (ranks[positive].sum() - num_positive * (num_positive + 1) / 2)
        / (num_positive * num_negative)
    )
