"""The training loop: next batch, step, and now and then a picture or a checkpoint."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from jaxtyping import UInt8

from sdflow_jax.files.pictures import write_png
from sdflow_jax.training.checkpoint import Checkpoints
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.metrics_log import MetricsLog
from sdflow_jax.training.sharding import DataParallel
from sdflow_jax.training.state import State
from sdflow_jax.training.step import TrainStep
from sdflow_jax.training.validation import Validation


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long training goes, and how often it measures and saves, in steps.

    Attributes:
      num_steps: length of the whole training.
      log_every: steps per row of the measurements.
      checkpoint_every: interval of checkpoints; there is one at the end, too.
      keep_checkpoints: how many of the latest checkpoints stay.
    """

    num_steps: int
    log_every: int
    checkpoint_every: int
    keep_checkpoints: int

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is due after `step` steps."""
        return step % self.checkpoint_every == 0 or step == self.num_steps


class Pictures(NamedTuple):
    """Pictures of a state, made while it is trained.

    Attributes:
      every: interval in steps, at least 1; there is one at the end, too.
      make: makes the picture of a state.
    """

    every: int
    make: Callable[[State], UInt8[np.ndarray, "h w 3"]]


def train(
    state: State,
    batches: grain.DatasetIterator,
    *,
    steps_done: int,
    schedule: Schedule,
    train_step: TrainStep,
    devices: DataParallel,
    log: MetricsLog,
    checkpoints: Checkpoints,
    data: dict[str, Any],
    interrupts: Interrupts,
    pictures: Pictures | None,
    validation: Validation | None,
    workdir: pathlib.Path,
) -> tuple[State, int]:
    """Run steps until the schedule's end or an interrupt, with a checkpoint of wherever it stops.

    Args:
      state: the training state; consumed.
      batches: at the batch of step `steps_done + 1`.
      steps_done: before this call.
      schedule: when things happen.
      train_step: from `make_train_step`.
      devices: over which a batch is split.
      log: gets the measurements.
      checkpoints: gets the state.
      data: description of the batches, saved with the checkpoints.
      interrupts: entered, and deferred.
      pictures: what pictures, if any.
      validation: what is measured besides, if anything.
      workdir: gets `samples/STEP.png`.

    Returns:
      The state and the number of steps it has seen.

    Raises:
      TrainingDiverged: as by `MetricsLog.add`. No checkpoint holds a number that is not finite.
    """
    step = steps_done
    while step < schedule.num_steps:
        batch = next(batches)
        state, measured = train_step(state, devices.put_batch(batch))
        step += 1
        log.add(step, measured, batch)
        is_interrupted = interrupts.stops_at(step)
        if pictures and (step % pictures.every == 0 or step == schedule.num_steps):
            log.flush()
            if jax.process_index() == 0:
                _save_picture(pictures.make(state), step, log, workdir)
            log.restart_clock()
        # Before the checkpoint, which then stands for what was measured up to its step.
        if validation and validation.is_due(step, schedule.num_steps):
            log.flush()
            if jax.process_index() == 0:
                log.add_scalars("validation", step, validation.run(step, state))
            log.restart_clock()
        if schedule.saves_at(step) or is_interrupted:
            log.flush()  # the check of this step's numbers comes before its checkpoint
            checkpoints.save(step, state, batches, data, log.unfinished())
            log.restart_clock()
        if is_interrupted:
            break
    return state, step


def _save_picture(
    picture: UInt8[np.ndarray, "h w 3"], step: int, log: MetricsLog, workdir: pathlib.Path
) -> None:
    log.add_image("samples", step, picture)
    write_png(workdir / "samples" / f"{step:07d}.png", picture)
