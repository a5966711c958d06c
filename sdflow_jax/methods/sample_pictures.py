"""Pictures of how the networks edit a few faces, made while they train."""

import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from sdflow_jax.data.prepared import held_out_faces
from sdflow_jax.images.grids import labeled_rows
from sdflow_jax.images.pixels import to_bytes, to_signed
from sdflow_jax.methods.method import EditingMethod
from sdflow_jax.models.synthesis import faces_of
from sdflow_jax.training.loop import Pictures
from sdflow_jax.training.settings import TrainingSettings
from sdflow_jax.training.state import State

MakeGrid = Callable[[nnx.Module], UInt8[np.ndarray, "h w 3"]]


def pictures_of(
    training: TrainingSettings,
    dataset: pathlib.Path,
    generator: nnx.Module,
    attributes: Sequence[str],
    editing: Callable[[State], EditingMethod],
) -> Pictures | None:
    """Pictures of held-out faces, edited with what a state has learned; None where none are wanted.

    Args:
      training: how often, and how many faces.
      dataset: the prepared faces.
      generator: the frozen generator.
      attributes: names of the semantic variables.
      editing: the editing method of a state.
    """
    if not training.sample_every:
        return None
    faces = held_out_faces(dataset, training.num_sample_faces)
    make_grid = make_edit_grid(generator, *faces, attributes)
    return Pictures(training.sample_every, lambda state: make_grid(editing(state)))


def make_edit_grid(
    generator: nnx.Module,
    images: UInt8[np.ndarray, "b r r 3"],
    w_plus: Float[np.ndarray, "b n d"],
    attributes: Sequence[str],
) -> MakeGrid:
    """Prepare the pictures of a fixed set of faces, compiled at its first use.

    Args:
      generator: the frozen generator.
      images: the faces, as the semantic encoder takes them.
      w_plus: their latents.
      attributes: names of the semantic variables.

    Returns:
      A function of an `EditingMethod` that makes a grid of one column per face: the face, its reconstruction,
      and each attribute edited to 0 and to 1. An edit that could not be computed is white.
    """
    labels = ["Original", "Reconstruction"]
    labels += [f"{name} = {end}" for name in attributes for end in (0, 1)]
    generator_graph, generator_arrays = nnx.split(generator)
    original = to_signed(jnp.asarray(images))

    @jax.jit
    def edit(method, generator_arrays, original, w_plus) -> Float[Array, "v b r r 3"]:
        generator = nnx.merge(generator_graph, generator_arrays)
        code, s = method.encode(w_plus, original)
        targets = [s.at[:, i].set(end) for i in range(len(attributes)) for end in (0.0, 1.0)]

        def synthesize(latents):
            return faces_of(generator, latents, original.shape[1])

        def variant(target):
            edited = method.decode(code, target)
            is_finite = jnp.all(jnp.isfinite(edited), axis=(1, 2))
            return jnp.where(is_finite[:, None, None, None], synthesize(edited), 1.0)

        # One variant at a time: at 1024 pixels all of them together would not fit in memory.
        edited = jax.lax.map(variant, jnp.stack(targets))
        return jnp.concatenate([original[None], synthesize(w_plus)[None], edited])

    def make_grid(method: nnx.Module) -> UInt8[np.ndarray, "h w 3"]:
        variants = to_bytes(
            edit(method, nnx.as_pure(generator_arrays), original, jnp.asarray(w_plus))
        )
        return labeled_rows(labels, variants)

    return make_grid
