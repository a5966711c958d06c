"""Training: the step against one that differentiates what is frozen, and the input against the step."""

import functools
import pathlib
import tempfile
from collections.abc import Iterator

import jax
from flax import nnx

from benchmarks.config import first_state
from benchmarks.timing import Comparison, compare
from sdflow_jax.data import face_latents
from sdflow_jax.data.pipeline import training_batches
from sdflow_jax.data.prepared import prepare_data
from sdflow_jax.files.attribute_names import attribute_columns
from sdflow_jax.files.config_files import read_config
from sdflow_jax.files.roles import load_role
from sdflow_jax.files.run_config import to_json
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.losses import sdflow_losses
from sdflow_jax.methods.method import RunSettings
from sdflow_jax.methods.sdflow.step import make_sdflow_step
from sdflow_jax.methods.settings import read_settings


def comparisons(*, is_large: bool) -> Iterator[Comparison]:
    """Compare in the pocket world; the ffhq world's networks are the user's to bring."""
    if is_large:
        return
    config = read_config(pathlib.Path(__file__).parent.parent / "configs" / "pocket.py")
    config.data.limits.update({"train": 256, "validation": 16, "test": 16})
    with tempfile.TemporaryDirectory() as directory:
        config.data.directory = directory
        yield from _comparisons(read_settings(to_json(config)), directory)


def _comparisons(run: RunSettings, directory: str) -> Iterator[Comparison]:
    dataset = prepare_data(run.data, run.networks, directory)
    columns = attribute_columns(face_latents.read_recipe(dataset)["attributes"], run.attributes)
    # Without threads that read ahead: what a batch takes, not what is left to wait for.
    batches = training_batches(
        face_latents.open_split(dataset, "train"),
        columns,
        batch_size=run.own.training.batch_size,
        seed=run.seed,
        num_threads=0,
        prefetch=0,
    )
    generator = load_role(run.networks, "generator")
    weights, settings = run.own.weights, run.own.losses
    graphs, state = first_state(run, generator)
    batch = jax.device_put(next(batches))
    key = jax.random.key(0)

    def gradient(trained, generator, batch, *, with_frozen: bool):
        def loss(learned, generator):
            images = {**batch, "image": to_signed(batch["image"])}
            terms, _ = sdflow_losses(
                learned.flow, learned.semantic_encoder, generator, images, key, settings=settings
            )
            return sum(weights[name] * terms[name] for name in weights)

        argnums = (0, 1) if with_frozen else 0
        learned = nnx.merge(graphs.training, trained)["networks"]
        return nnx.grad(loss, argnums=argnums)(learned, generator)

    both = {
        is_all: jax.jit(functools.partial(gradient, with_frozen=is_all)) for is_all in (False, True)
    }
    yield compare(
        "gradient of all four losses, 64px, batch 16",
        ("of what is trained", lambda: both[False](state["trained"], generator, batch)),
        ("and of the generator", lambda: both[True](state["trained"], generator, batch)),
        faces=run.own.training.batch_size,
    )
    train_step = make_sdflow_step(graphs, generator, weights=weights, settings=settings)
    holder = {"state": state}

    def step():
        holder["state"], measured = train_step(holder["state"], batch)
        return measured

    yield compare(
        "a batch of 16 and its training step",
        ("read, decode and collate", lambda: next(batches)),
        ("train on it", step),
        faces=run.own.training.batch_size,
    )
