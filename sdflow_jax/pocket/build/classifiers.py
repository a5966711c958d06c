"""The attribute classifiers: C, which SDFlow distills, and the evaluation classifier, which judges.

Few faces are annotated, and a network that saw those again and again would learn them by heart. So
all faces teach: by a probe of w, which agrees with annotations that it has not seen better than any
network of pictures did that learned from them, and halfway by their own labels where they have any.
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
from sdflow_jax.pocket.build.optimizer import KernelLearning, kernel_optimizer


@dataclasses.dataclass(frozen=True)
class ClassifierSettings(KernelLearning):
    """One classifier's network and training."""

    arguments: Mapping[str, object]
    parity: int  # which seeds it may see: 0 even, 1 odd
    seed: int
    average_decay: float = 0.99


@dataclasses.dataclass(frozen=True)
class LabelledFaces:
    """Faces in memory.

    Attributes:
      variants: [v, n, 64, 64, 3], 8-bit: renders, and the student's pictures of the same codes.
      targets: [n, a] probabilities.
    """

    variants: NDArray[np.uint8]
    targets: NDArray[np.float32]

    def take(self, keep: NDArray) -> "LabelledFaces":
        """Some of the faces."""
        return LabelledFaces(self.variants[:, keep], self.targets[keep])


def train_classifier(
    name: str, faces: LabelledFaces, settings: ClassifierSettings, folder: pathlib.Path
) -> nnx.Module:
    """Train on all of `faces`, already of the right parity; returns the averaged network, in evaluation mode."""
    network = networks.build("AttributeClassifier", settings.arguments, seed=settings.seed)
    optimizer = kernel_optimizer(network, settings)
    graph, state = nnx.split({"network": network, "optimizer": optimizer})
    average_graph, _ = nnx.split(nnx.view(network, use_running_average=True))
    state = nnx.to_pure_dict(state)
    state = jax.tree.map(jnp.array, {"learner": state, "average": state["network"]})

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, images, targets, key):
        learner = nnx.merge(graph, state["learner"], copy=True)

        def loss_fn(network):
            logits = network.logits(augment(key, to_signed(images)))
            return optax.sigmoid_binary_cross_entropy(logits, targets).mean()

        loss, grads = nnx.value_and_grad(loss_fn)(learner["network"])
        learner["optimizer"].update(learner["network"], grads)
        new = nnx.to_pure_dict(nnx.state(learner))
        average = optax.incremental_update(
            new["network"], state["average"], 1.0 - settings.average_decay
        )
        return {"learner": new, "average": average}, {"loss": loss}

    def step(state, index):
        rng = np.random.default_rng((settings.seed, index))
        rows = rng.integers(len(faces.targets), size=settings.batch_size)
        variant = rng.integers(len(faces.variants), size=len(rows))
        key = jax.random.fold_in(jax.random.key(settings.seed), index)
        return update(state, faces.variants[variant, rows], faces.targets[rows], key)

    state = trainer.train(name, state, step, settings.num_steps, folder)
    trained = nnx.merge(average_graph, state["average"])
    trained.eval()
    return trained
