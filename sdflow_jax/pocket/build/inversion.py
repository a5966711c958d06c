"""The inversion encoder: from a picture to a W+ code near W, learned on codes that are known.

It is trained in whitened coordinates of W, in which every direction counts by its own deviation
and a code near W is one of small norm (Tov et al. 2021 want the same of e4e by a discriminator);
the whitening is folded into its last layers afterwards.
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
from sdflow_jax.images.resizing import average_pool
from sdflow_jax.models.refinement import Whitening
from sdflow_jax.pocket.build import trainer
from sdflow_jax.pocket.build.codes import Codes
from sdflow_jax.pocket.build.photo_augmentation import photograph
from sdflow_jax.pocket.build.student import pyramid_loss
from sdflow_jax.training.optimizer import in_floats


@dataclasses.dataclass(frozen=True)
class InversionSettings:
    """One training of the encoder."""

    arguments: Mapping[str, object]
    num_steps: int
    batch_size: int = 64
    seed: int = 21
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    code_weight: float = 1.0
    picture_weight: float = 1.0


def train_inversion(
    student: nnx.Module,
    codes: Codes,
    pictures: NDArray[np.uint8],
    settings: InversionSettings,
    folder: pathlib.Path,
) -> nnx.Module:
    """Train on pairs of codes and pictures; returns the encoder, in evaluation mode.

    Args:
      student: a `CompactGenerator`, through which the pictures of found codes are compared.
      codes: of the pictures.
      pictures: 8-bit, [n, r, r, 3], r the encoder's image size.
      settings: of the training.
      folder: for checkpoints.
    """
    whitening = Whitening.of(codes.coarse)
    encoder = networks.build("InversionEncoder", settings.arguments, seed=settings.seed)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, settings.num_steps // 20, settings.num_steps
    )
    transform = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(in_floats(schedule), b2=0.99, weight_decay=settings.weight_decay),
    )
    graph, state = nnx.split(
        {"encoder": encoder, "optimizer": nnx.Optimizer(encoder, transform, wrt=nnx.Param)}
    )
    state = jax.tree.map(jnp.array, nnx.to_pure_dict(state))
    student_graph, student_state = nnx.split(student)
    frozen = {
        "student": nnx.to_pure_dict(student_state),
        "mean": whitening.mean[None, None],
        "scale": whitening.scale,
        "inverse": whitening.inverse,
    }
    dtype = None if jax.default_backend() == "cpu" else jnp.bfloat16

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, frozen, coarse, fine, crossover, pictures, key):
        keys = jax.random.split(key)
        generator = nnx.merge(student_graph, frozen["student"])
        rows = jnp.arange(encoder.num_styles)[None, :, None]
        w_plus = jnp.where(rows < crossover[:, None, None], coarse[:, None], fine[:, None])
        wanted = (w_plus - frozen["mean"]) @ frozen["inverse"]
        faces = to_signed(pictures)
        # Half of the pictures are the student's, which the pocket world's own faces are.
        own = jax.lax.stop_gradient(generator.synthesize(w_plus, dtype=dtype))
        own = jnp.clip(own, -1.0, 1.0)
        is_own = jax.random.bernoulli(keys[0], 0.5, (len(faces), 1, 1, 1))
        faces = jnp.where(is_own, own, faces)
        learner = nnx.merge(graph, state, copy=True)

        def loss_fn(encoder):
            found = encoder.codes(photograph(keys[1], faces))
            code_error = jnp.square(found - wanted)[:, :16].mean()
            w_found = found @ frozen["scale"] + frozen["mean"]
            picture = generator.pyramid(w_found, resolution=64, dtype=dtype)
            target = average_pool(faces, faces.shape[1] // 64)
            picture_error = pyramid_loss(picture, target, 0.5)
            loss = settings.code_weight * code_error + settings.picture_weight * picture_error
            return loss, {"code": code_error, "picture": picture_error}

        (_, measured), grads = nnx.value_and_grad(loss_fn, has_aux=True)(learner["encoder"])
        learner["optimizer"].update(learner["encoder"], grads)
        return nnx.to_pure_dict(nnx.state(learner)), measured

    def step(state, index):
        rng = np.random.default_rng((settings.seed, index))
        rows = rng.integers(len(pictures), size=settings.batch_size)
        key = jax.random.fold_in(jax.random.key(settings.seed), index)
        batch = (codes.coarse[rows], codes.fine[rows], codes.crossover[rows], pictures[rows])
        return update(state, frozen, *batch, key)

    state = trainer.train("inversion_encoder", state, step, settings.num_steps, folder)
    trained = nnx.merge(graph, state)["encoder"]
    _fold_whitening(trained, whitening)
    trained.eval()
    return trained


def _fold_whitening(encoder: nnx.Module, whitening: Whitening) -> None:
    """Let the heads give w where they gave whitened codes."""
    for head in encoder.heads:
        head.linear.kernel[...] = head.linear.kernel[...] @ whitening.scale
        head.linear.bias[...] = head.linear.bias[...] @ whitening.scale
    average = jnp.broadcast_to(whitening.mean, encoder.latent_average.shape)
    encoder.latent_average[...] = average
