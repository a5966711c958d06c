"""One training from wherever its directory stands: from the beginning, or from the last checkpoint."""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import grain
import jax
import numpy as np
from jaxtyping import UInt8

from sdflow_jax.training.checkpoint import Checkpoints
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.loop import Schedule, train
from sdflow_jax.training.metrics_log import MetricsLog
from sdflow_jax.training.sharding import DataParallel
from sdflow_jax.training.state import State
from sdflow_jax.training.step import TrainStep


def has_begun(workdir: str | os.PathLike[str]) -> bool:
    """Whether a training in this directory, or one stage of it, has saved a checkpoint."""
    workdir = pathlib.Path(workdir)
    folders = [*workdir.glob("checkpoints/*"), *workdir.glob("*/checkpoints/*")]
    return any(folder.name.isdigit() for folder in folders)


def train_resumably(
    state: State,
    batches: grain.DatasetIterator,
    train_step: TrainStep,
    *,
    directory: pathlib.Path,
    training: Mapping[str, Any],
    data: dict[str, Any],
    devices: DataParallel,
    interrupts: Interrupts,
    draw: Callable[[State], UInt8[np.ndarray, "h w 3"]],
    title: str = "training",
) -> tuple[State, bool]:
    """Train to `num_steps`, or until an interrupt.

    Args:
      state: the initial state, on the devices; consumed.
      batches: at the first batch.
      train_step: from `make_train_step`, or alike.
      directory: gets `checkpoints/`, `metrics.csv`, `tensorboard/` and `samples/`.
      training: the config group: `num_steps`, `batch_size`, `log_every`, `sample_every`,
        `checkpoint_every` and `keep_checkpoints`.
      data: description of the batches (`describe_batches`).
      devices: over which a batch is split.
      interrupts: entered; deferred while training.
      draw: makes the picture of a state.
      title: of the progress bar.

    Returns:
      The state, and whether all steps are done.

    Raises:
      CheckpointError: if the checkpoint does not fit.
      TrainingDiverged: if a number is not finite.
    """
    num_steps = training["num_steps"]
    checkpoints = Checkpoints(directory / "checkpoints", keep=training["keep_checkpoints"])
    first_step, unfinished = 0, None
    if checkpoints.latest_step is not None:
        first_step, state, batches, unfinished = checkpoints.restore(
            state, batches, data, devices.replicated
        )
        if first_step < num_steps:
            print(f"{title}: continuing after step {first_step}")
    log = MetricsLog(
        directory,
        first_step=first_step,
        num_steps=num_steps,
        batch_size=training["batch_size"],
        log_every=training["log_every"],
        unfinished=unfinished,
        is_silent=jax.process_index() != 0,
        title=title,
    )
    try:
        with interrupts.deferred():
            state, step = train(
                state,
                batches,
                first_step=first_step,
                schedule=Schedule(
                    num_steps, training["checkpoint_every"], training["sample_every"]
                ),
                train_step=train_step,
                devices=devices,
                log=log,
                checkpoints=checkpoints,
                data=data,
                interrupts=interrupts,
                draw=draw,
                workdir=directory,
            )
    finally:
        log.close()
        checkpoints.close()
    if step < num_steps:
        print(f"{interrupts.received}: stopped after step {step}; the same command continues")
    return state, step >= num_steps
