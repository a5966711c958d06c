"""The student: a `CompactGenerator` that imitates the renderer at 8 to 128 pixels.

It begins as the renderer's own trunk with the channels pruned that the next layer reads least, and
learns from pairs of a code and its picture.
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
from jaxtyping import Array, Float
from numpy.typing import NDArray

from sdflow_jax.files import networks
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.images.resizing import average_pool
from sdflow_jax.models.compact_generator import BASE_SIZE, CompactGenerator
from sdflow_jax.pocket.build import trainer
from sdflow_jax.pocket.build.codes import Codes
from sdflow_jax.training.optimizer import in_floats

RIDGE = 1e-2  # of the least squares for the linear picture, in units of the codes' mean variance

# Weight of each resolution's errors, from 8 to 128 pixels; the training loop of the pocket world sees 64.
_RESOLUTION_WEIGHTS = (0.25, 0.5, 0.5, 1.0, 0.75)

# Step sizes relative to the learning rate, by how many inputs a weight sums over and how large they
# are. Styles read raw w: a step that suits a convolution throws them far off.
_RATES = (
    ("base/", 0.02),
    ("modulation/", 0.04),
    ("/up/", 0.04),
    ("pointwise", 0.3),
    ("readouts/", 0.3),
    ("start/kernel", 0.1),
    ("", 1.0),
)
_PRETRAINED_RATE = 0.3


@dataclasses.dataclass(frozen=True)
class StudentSettings:
    """The distillation."""

    arguments: Mapping[str, object]
    num_steps: int
    batch_size: int = 64
    seed: int = 11
    learning_rate: float = 1e-3
    edge_weight: float = 0.5


def initial_student(
    renderer: nnx.Module,
    arguments: Mapping[str, object],
    codes: Codes,
    pictures: NDArray[np.uint8],
) -> CompactGenerator:
    """A student with the renderer's mapping network and pruned trunk, and the linear picture fitted.

    Args:
      renderer: a `MobileStyleGAN`.
      arguments: of the `CompactGenerator`, with no more channels than the renderer's.
      codes: some thousand, to fit the linear picture to.
      pictures: of these codes, 8-bit, [n, r, r, 3].
    """
    student = networks.build("CompactGenerator", arguments)
    arrays = networks.flatten(student)
    source = networks.flatten(renderer)
    for key in arrays:
        if key.startswith(("mapping/", "w_average", "trunk/constant", "trunk/start/")):
            arrays[key] = source[key]
    kept = np.arange(source["trunk/constant"].shape[-1])
    for j in range(len(student.trunk.blocks)):
        kept = _prune_block(arrays, source, j, kept)
    kernel, bias = _linear_picture(codes, pictures)
    arrays["base/kernel"], arrays["base/bias"] = kernel, bias
    networks.load_arrays(student, arrays, source="renderer")
    return student


def _prune_block(arrays, source, j, kept_in):
    """Copy block j, of whose inputs the block before has kept `kept_in`; returns the outputs kept."""
    path = f"trunk/blocks/{j}/"
    width = arrays[path + "second/pointwise"].shape[1]
    middle = _most_read(source, path + "second/", width)
    if path.replace(f"/{j}/", f"/{j + 1}/") + "up/kernel" in source:
        kept_out = _most_read_wavelets(source, f"trunk/blocks/{j + 1}/", width)
    else:
        kept_out = np.arange(width)
    narrow_in = kept_in[: len(kept_in) // 4]  # the mean band's channels, one for each wavelet
    picks = {
        "up/kernel": (slice(None), kept_in),
        "up/bias": (kept_in,),
        "first/modulation/kernel": (slice(None), narrow_in),
        "first/modulation/bias": (narrow_in,),
        "first/depthwise": (slice(None), slice(None), narrow_in),
        "first/pointwise": np.ix_(narrow_in, middle),
        "first/bias": (middle,),
        "first/noise": (),
        "second/modulation/kernel": (slice(None), middle),
        "second/modulation/bias": (middle,),
        "second/depthwise": (slice(None), slice(None), middle),
        "second/pointwise": np.ix_(middle, kept_out),
        "second/bias": (kept_out,),
        "second/noise": (),
    }
    for name, pick in picks.items():
        arrays[path + name] = source[path + name][pick]
    return kept_out


def _importance(source, path):
    """How much a layer reads each of its inputs: the norm of its filter times the typical style."""
    taps = np.sqrt(np.square(source[path + "depthwise"]).sum((0, 1)))
    outputs = np.sqrt(np.square(source[path + "pointwise"]).sum(1))
    return taps * outputs * np.abs(source[path + "modulation/bias"])


def _most_read(source, path, count):
    return np.sort(np.argsort(-_importance(source, path))[:count])


def _most_read_wavelets(source, path, count):
    """Channels that form the `count / 4` wavelets which block `path` reads most, band by band."""
    wavelets = _most_read(source, path + "first/", count // 4)
    bands = len(source[path + "up/bias"]) // 4
    return np.concatenate([wavelets + band * bands for band in range(4)])


def _linear_picture(codes, pictures):
    """Ridge regression of the `BASE_SIZE` pictures on the means of coarse, middle and fine styles."""
    factor = pictures.shape[1] // BASE_SIZE
    target = to_signed(average_pool(pictures, factor)).reshape(len(pictures), -1)
    single = codes.crossover == codes.crossover.max()
    w = np.asarray(codes.coarse[single], np.float64)
    center, target = w.mean(0), target[single]
    w = w - center
    gram = w.T @ w
    ridge = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    kernel = np.linalg.solve(gram + ridge, w.T @ (target - target.mean(0)))
    bias = target.mean(0) - center @ kernel
    # Of one style, each of the three groups gives a third.
    return np.concatenate([kernel / 3] * 3).astype(np.float32), bias.astype(np.float32)


def pyramid_loss(
    found: list[Float[Array, "b r r 3"]], wanted: Float[Array, "b s s 3"], edge_weight: float
) -> Float[Array, ""]:
    """Absolute and squared errors at every resolution, and those of neighbors' differences at the last two."""
    total = jnp.zeros(())
    for weight, picture in zip(_RESOLUTION_WEIGHTS, found, strict=False):
        target = average_pool(wanted, wanted.shape[1] // picture.shape[1])
        error = picture - target
        total += weight * (jnp.abs(error).mean() + jnp.square(error).mean())
        if picture.shape[1] >= 64:
            edges = (
                jnp.abs(jnp.diff(error, axis=1)).mean() + jnp.abs(jnp.diff(error, axis=2)).mean()
            )
            total += weight * edge_weight * edges
    return total


def peak_signal_to_noise(
    found: Float[Array, "b r r 3"], wanted: Float[Array, "b r r 3"]
) -> Float[Array, "b"]:
    """PSNR in decibels of images in [-1, 1], whose peak is 2."""
    errors = jnp.square(jnp.clip(found, -1.0, 1.0) - wanted).mean((1, 2, 3))
    return 10.0 * jnp.log10(4.0 / errors)


def train_student(
    student: CompactGenerator,
    codes: Codes,
    pictures: NDArray[np.uint8],
    settings: StudentSettings,
    folder: pathlib.Path,
) -> CompactGenerator:
    """Train on pairs; returns the network with its last weights.

    Args:
      student: as by `initial_student`, or one that has learned before.
      codes: of the pictures.
      pictures: 8-bit, [n, 128, 128, 3].
      settings: of the distillation.
      folder: for checkpoints.
    """
    on_cpu = jax.default_backend() == "cpu"
    dtype = None if on_cpu else jnp.bfloat16
    graph, params, rest = nnx.split(student, nnx.Param, ...)
    params, rest = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)
    frozen_mapping = {"mapping": params.pop("mapping")}
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, settings.num_steps // 20, settings.num_steps
    )
    transform = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(b1=0.9, b2=0.99),
        optax.scale_by_learning_rate(in_floats(schedule)),
    )
    rates = jax.tree_util.tree_map_with_path(_rate, params)
    state = {"params": params, "optimizer": transform.init(params)}
    state = jax.tree.map(jnp.array, state)

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, frozen, coarse, fine, crossover, pictures):
        rows = jnp.arange(student.num_styles)[None, :, None]
        w_plus = jnp.where(rows < crossover[:, None, None], coarse[:, None, :], fine[:, None, :])
        wanted = to_signed(pictures)

        def loss_fn(params):
            module = nnx.merge(graph, {**params, **frozen["mapping"]}, frozen["rest"])
            found = module.pyramid(w_plus, dtype=dtype)
            # At half its size, 64 pixels, the pocket world sees it most.
            quality = peak_signal_to_noise(found[-2], average_pool(wanted, 2)).mean()
            return pyramid_loss(found, wanted, settings.edge_weight), quality

        (loss, quality), grads = jax.value_and_grad(loss_fn, has_aux=True)(state["params"])
        updates, optimizer = transform.update(grads, state["optimizer"])
        updates = jax.tree.map(jnp.multiply, updates, rates)
        params = optax.apply_updates(state["params"], updates)
        return {"params": params, "optimizer": optimizer}, {"loss": loss, "psnr": quality}

    frozen = {"mapping": frozen_mapping, "rest": rest}

    def step(state, index):
        rows = np.random.default_rng((settings.seed, index)).integers(
            len(pictures), size=settings.batch_size
        )
        batch = (codes.coarse[rows], codes.fine[rows], codes.crossover[rows], pictures[rows])
        return update(state, frozen, *batch)

    state = trainer.train("student", state, step, settings.num_steps, folder)
    return nnx.merge(graph, {**state["params"], **frozen_mapping}, rest)


def _rate(path, value) -> float:
    """Relative step size of a parameter; lower where it was trained before."""
    del value
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    rate = next(rate for part, rate in _RATES if part in name)
    return rate * (1.0 if name.startswith("readouts/") else _PRETRAINED_RATE)
