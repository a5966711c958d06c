"""A training that compiles in a second, by the same loop, checkpoints and log as all others."""

import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.loop import Schedule
from sdflow_jax.training.resumable import train_resumably
from sdflow_jax.training.sharding import DataParallel
from sdflow_jax.training.state import State, create_state
from sdflow_jax.training.step import Losses, TrainStep, make_train_step

BATCH_SIZE = 2
SIZE = 64

# What a batch's `harm` stands for.
HARMS = ("none", "loss NaN", "loss infinite", "gradient not finite", "equation not solved")


class Line(nnx.Module):
    """One matrix, and the count of its calls in training."""

    def __init__(self):
        self.weight = nnx.Param(jnp.linspace(-1.0, 1.0, SIZE * SIZE).reshape(SIZE, SIZE))
        self.calls = nnx.BatchStat(jnp.zeros(()))


def losses(line: Line, frozen: Any, batch: dict[str, jax.Array], key: jax.Array) -> Losses:
    """A squared error, with the harm that the batch asks for."""
    del frozen, key  # nothing is drawn, so that a step does not depend on its number
    harm = batch["harm"][0]
    line.calls[...] += 1
    error = jnp.mean((batch["x"] @ line.weight[...] - batch["x"]) ** 2)
    error = jnp.where(harm == 1, jnp.nan, jnp.where(harm == 2, jnp.inf, error))
    # The root of 0 is 0, and its slope infinite.
    root = jnp.sqrt(jnp.where(harm == 3, 0.0, 1.0) * jnp.abs(line.weight[0, 0]))
    is_solved = harm != 4
    return Losses(
        {"error": error, "root": root},
        {"evaluations": jnp.asarray(13), "success": is_solved},
        is_valid=is_solved,
    )


def begin() -> tuple[State, TrainStep]:
    """A fresh state, and its step."""
    graphs, state = create_state(Line, optax.adam(0.01), seed=0, keeps_average=True)
    step = make_train_step(graphs, losses, weights={"error": 1.0, "root": 0.1}, average_decay=0.9)
    return state, step


def batches_of(harms: Iterable[int], numbers: Iterable[int]) -> grain.DatasetIterator:
    """Endless batches: the k-th holds the numbers drawn by `numbers[k]`, and the harm `harms[k]`."""
    harms, numbers = list(harms), list(numbers)

    def face(k: int) -> dict[str, np.ndarray]:
        x = np.random.default_rng(numbers[k]).standard_normal((BATCH_SIZE, SIZE), np.float32)
        return {"x": x, "harm": np.full(BATCH_SIZE, harms[k], np.int32)}

    faces = grain.MapDataset.range(len(harms)).map(face).repeat()
    return iter(faces.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)))


def train(
    directory: pathlib.Path,
    batches: grain.DatasetIterator,
    *,
    num_steps: int,
    checkpoint_every: int,
    begun: tuple[State, TrainStep] | None = None,
    on_step: Callable[[int], None] = lambda step: None,
    interrupts: Interrupts | None = None,
) -> State:
    """Train, or continue; returns the state on the host."""
    state, step = begun or begin()
    count = 0

    def counted(state, batch):
        nonlocal count
        count += 1
        on_step(count)
        return step(state, batch)

    devices = DataParallel(BATCH_SIZE)
    state, _ = train_resumably(
        devices.replicate(jax.tree.map(_copied, state)),  # a step consumes what it is given
        batches,
        counted,
        directory=directory,
        schedule=Schedule(
            num_steps=num_steps,
            log_every=4,
            checkpoint_every=checkpoint_every,
            keep_checkpoints=2,
        ),
        data={"what": "numbers"},
        devices=devices,
        interrupts=interrupts or Interrupts(),
        requirements={"success": "the equation was not solved within its steps"},
    )
    return state


def arrays(state: State) -> dict[str, np.ndarray]:
    """All that is trained, by path, without the count of steps."""
    leaves = jax.tree_util.tree_flatten_with_path(
        {"trained": state["trained"], "average": state["average"]}
    )[0]
    found = {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves}
    return {key: np.asarray(x) for key, x in found.items() if key != "trained/optimizer/step"}


def _copied(x: jax.Array) -> jax.Array:
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.array(jax.random.key_data(x)))
    return jnp.array(x)
