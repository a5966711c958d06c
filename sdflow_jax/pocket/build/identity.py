"""Distil dlib's face embedding into the pocket identity encoder, on renders and the student's pictures."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from sdflow_jax.files import networks
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.pocket.build import trainer
from sdflow_jax.pocket.build.augmentation import mirror
from sdflow_jax.pocket.build.optimizer import KernelLearning, kernel_optimizer


@dataclasses.dataclass(frozen=True)
class IdentitySettings(KernelLearning):
    """The distillation."""

    arguments: Mapping[str, object]
    crop: tuple[int, int]  # first row and column of the part of 64 pixels that the network sees
    seed: int = 7


def train_identity(
    variants: NDArray[np.uint8],
    embeddings: NDArray[np.float32],
    settings: IdentitySettings,
    folder: pathlib.Path,
) -> nnx.Module:
    """Train to match unit `embeddings` [n, e] of the same faces in each of the `variants` [v, n, 64, 64, 3].

    Returns the network in evaluation mode.

    The loss is one minus the cosine, plus the squared error of the cosines between the faces of a batch: it is the
    angles between faces that identity is read from.
    """
    network = networks.build("IdentityEncoder", settings.arguments, seed=settings.seed)
    (top, left), side = settings.crop, network.image_size
    optimizer = kernel_optimizer(network, settings)
    graph, state = nnx.split({"network": network, "optimizer": optimizer})
    state = jax.tree.map(jnp.array, nnx.to_pure_dict(state))

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, batch, wanted, key):
        part = batch[:, top : top + side, left : left + side]
        faces = mirror(key, to_signed(part))
        learner = nnx.merge(graph, state, copy=True)

        def loss_fn(network):
            found = network(faces)
            cosine = (found * wanted).sum(1).mean()
            relations = jnp.square(found @ found.T - wanted @ wanted.T).mean()
            return 1.0 - cosine + 10.0 * relations, {"cosine": cosine, "relations": relations}

        (_, measured), grads = nnx.value_and_grad(loss_fn, has_aux=True)(learner["network"])
        learner["optimizer"].update(learner["network"], grads)
        return nnx.to_pure_dict(nnx.state(learner)), measured

    def step(state, index):
        rng = np.random.default_rng((settings.seed, index))
        rows = rng.integers(len(embeddings), size=settings.batch_size)
        variant = rng.integers(len(variants), size=len(rows))
        key = jax.random.fold_in(jax.random.key(settings.seed), index)
        return update(state, variants[variant, rows], embeddings[rows], key)

    state = trainer.train("identity_encoder", state, step, settings.num_steps, folder)
    trained = nnx.merge(graph, state)["network"]
    trained.eval()
    return trained
