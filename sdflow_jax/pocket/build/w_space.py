"""Change of coordinates after which a single w holds a whole face.

An encoder that is free to use its offsets writes a face into all styles together, each layer in a language of its own.
W+ is then a space in which rows have different distributions, and w alone, which sampling needs, draws nothing. But
what a layer reads of its style is affine, so the coordinates are free: with the principal components of all styles
together as w, style l is `mean_l + w P_l`, which goes into the layer's own weights. The generator renders the same
faces, as far as so many components hold them, from one w for all layers; e4e's arrangement (Tov et al., 2021).
"""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float
from numpy.typing import NDArray

from sdflow_jax import networks
from sdflow_jax.batching import map_batches
from sdflow_jax.pocket.build import trainer


@dataclasses.dataclass(frozen=True)
class WSpaceSettings:
    """The fit of the new base head."""

    num_steps: int
    num_faces: int = 8192
    batch_size: int = 256
    learning_rate: float = 2e-3
    seed: int = 9


@functools.partial(jax.jit, static_argnums=0)
def _read(graph: nnx.GraphDef, state: Any, faces: Array) -> tuple[Array, Array]:
    """W+ codes and the body's last feature map."""
    encoder = nnx.merge(graph, state)
    images = faces.astype(jnp.float32) / 127.5 - 1.0
    return encoder(images), encoder.body(images)[-1]


def principal_coordinates(
    codes: Float[np.ndarray, "n l d"],
) -> tuple[Float[np.ndarray, "l d"], Float[np.ndarray, "d l d"], Float[np.ndarray, "n d"]]:
    """Mean styles, directions, and w codes such that `codes` is about `mean + einsum("nk,kld->nld", w, directions)`.

    The deviation of component k of w goes with the fourth root of its variance among the codes: between the principal
    components themselves, whose last would hardly be learnt, and white ones, whose last would be noise. That of all
    components together is the codes'.
    """
    count, _, dim = codes.shape
    mean = codes.mean(axis=0)
    centered = (codes - mean).reshape(count, -1)
    variances, vectors = np.linalg.eigh(centered.T @ centered / count)
    variances, vectors = variances[::-1][:dim], vectors[:, ::-1][:, :dim]
    scale = variances**-0.25
    scale *= np.sqrt(np.square(centered).mean() / (variances * scale**2).mean())
    directions = (vectors / scale).T.reshape(dim, *codes.shape[1:])
    return mean, directions, centered @ vectors * scale


def to_one_code(generator: nnx.Module, mean: NDArray, directions: NDArray) -> None:
    """Let every layer of the generator read `mean_l + w directions_l` where it read its style, in place."""
    for index, layer in enumerate(generator.convs):
        _recoordinate(layer.modulation, mean[index], directions[:, index])
    for block, layer in enumerate(generator.to_rgbs):
        _recoordinate(layer.modulation, mean[2 * block + 1], directions[:, 2 * block + 1])


def _recoordinate(linear, mean, directions):
    kernel = linear.kernel[...]
    linear.bias[...] = linear.bias[...] + mean @ kernel * linear.gain
    linear.kernel[...] = directions @ kernel


def change_coordinates(
    encoder: nnx.Module,
    generator: nnx.Module,
    faces: NDArray[np.uint8],
    arguments: dict[str, Any],
    settings: WSpaceSettings,
    folder: pathlib.Path,
) -> nnx.Module:
    """Change the generator in place; returns a new encoder whose base head is fitted to the new w, offsets zero.

    Args:
      encoder: of the round before.
      generator: of the round before.
      faces: uint8 [n, 64, 64, 3]; as many as the settings ask for are used, with their mirror images.
      arguments: the new encoder's; its body and pyramid are the old one's.
      settings: the fit.
      folder: for checkpoints and logs.
    """
    faces = faces[: settings.num_faces]
    graph, state = nnx.split(encoder)
    faces = np.concatenate([faces, faces[:, :, ::-1]])
    codes, features = map_batches(functools.partial(_read, graph, state), 64, faces)
    mean, directions, w = principal_coordinates(codes)
    to_one_code(generator, mean, directions)
    renewed = networks.build("InversionEncoder", arguments, seed=settings.seed)
    for part in ("body", "middle_lateral", "fine_lateral"):
        nnx.update(getattr(renewed, part), nnx.state(getattr(encoder, part)))
    for head in list(renewed.heads)[1:]:
        head.linear.kernel[...] = jnp.zeros_like(head.linear.kernel[...])
        head.linear.bias[...] = jnp.zeros_like(head.linear.bias[...])
    renewed.heads[0] = _fit_head(renewed.heads[0], features, w, settings, folder)
    return renewed


def _fit_head(head, features, w, settings, folder):
    """The head that reads w from the body's last feature map, by least squares."""
    count = len(w) // 2  # faces; their mirror images follow
    held_out = count // 16
    schedule = optax.cosine_decay_schedule(settings.learning_rate, settings.num_steps)
    optimizer = nnx.Optimizer(head, optax.adamw(schedule, weight_decay=0.05), wrt=nnx.Param)
    graph, state = nnx.split({"head": head, "optimizer": optimizer})
    state = jax.tree.map(jnp.array, nnx.to_pure_dict(state))

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, features, w):
        learner = nnx.merge(graph, state, copy=True)

        def loss_fn(head):
            return jnp.square(head(features) - w).mean()

        loss, grads = nnx.value_and_grad(loss_fn)(learner["head"])
        learner["optimizer"].update(learner["head"], grads)
        return nnx.to_pure_dict(nnx.state(learner)), {"error": loss}

    def step(state, index):
        random = np.random.default_rng((settings.seed, index))
        rows = random.integers(held_out, count, size=settings.batch_size)
        rows += count * random.integers(2, size=settings.batch_size)
        return update(state, features[rows], w[rows])

    state = trainer.train("w_space", state, step, settings.num_steps, folder)
    head = nnx.merge(graph, state)["head"]
    error = np.square(np.asarray(head(features[:held_out])) - w[:held_out]).mean()
    print(f"base head: {1 - error / w[:held_out].var():.3f} of the variance of w explained")
    return head
