"""Fit the generator's mapping network to the encoder's codes, so that z -> w samples faces.

The distance between the mapped Gaussian and the codes is the sliced Wasserstein distance (Bonneel et al., 2015): the
mean squared difference of sorted projections on random directions.
"""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from numpy.typing import NDArray

from sdflow_jax.pocket.build import trainer


@dataclasses.dataclass(frozen=True)
class MappingSettings:
    """The fit."""

    num_steps: int
    batch_size: int = 1024
    num_directions: int = 128
    seed: int = 8
    # Adam's steps reach the weights times the layers' learning rate multiplier, 0.01.
    learning_rate: float = 0.2


def fit_mapping(
    generator: nnx.Module,
    codes: NDArray[np.float32],
    settings: MappingSettings,
    folder: pathlib.Path,
) -> None:
    """Train `generator.mapping` in place on w codes [n, d], and set `generator.w_average` to their mean."""
    deviation = float(codes.std())
    transform = optax.adam(optax.cosine_decay_schedule(settings.learning_rate, settings.num_steps))
    is_mapping = nnx.All(nnx.Param, nnx.PathContains("mapping"))
    optimizer = nnx.Optimizer(generator, transform, wrt=is_mapping)
    graph, state = nnx.split({"generator": generator, "optimizer": optimizer})
    state = jax.tree.map(jnp.array, nnx.to_pure_dict(state))

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, batch, key):
        learner = nnx.merge(graph, state, copy=True)
        keys = jax.random.split(key)
        z = jax.random.normal(keys[0], batch.shape)
        directions = jax.random.normal(keys[1], (batch.shape[1], settings.num_directions))
        directions /= jnp.linalg.norm(directions, axis=0, keepdims=True)

        def loss_fn(generator):
            found = jnp.sort(generator.map(z) @ directions, axis=0)
            wanted = jnp.sort(batch @ directions, axis=0)
            return jnp.square((found - wanted) / deviation).mean()

        loss, grads = nnx.value_and_grad(loss_fn, argnums=nnx.DiffState(0, is_mapping))(
            learner["generator"]
        )
        learner["optimizer"].update(learner["generator"], grads)
        return nnx.to_pure_dict(nnx.state(learner)), {"sliced": loss}

    def step(state, index):
        rows = np.random.default_rng((settings.seed, index)).integers(
            len(codes), size=settings.batch_size
        )
        key = jax.random.fold_in(jax.random.key(settings.seed), index)
        return update(state, codes[rows], key)

    state = trainer.train("mapping", state, step, settings.num_steps, folder)
    fitted = nnx.merge(graph, state)["generator"]
    nnx.update(generator, nnx.state(fitted))
    generator.w_average[...] = jnp.asarray(codes.mean(0))
