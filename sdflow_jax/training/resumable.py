"""One training from wherever its directory stands: from the beginning, or from the last checkpoint."""

import contextlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import jax

from sdflow_jax.training.checkpoint import Checkpoints, RunCheckpointError
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.loop import Pictures, Schedule, train
from sdflow_jax.training.metrics_log import MetricsLog
from sdflow_jax.training.sharding import DataParallel
from sdflow_jax.training.state import State
from sdflow_jax.training.step import TrainStep
from sdflow_jax.training.validation import Validation


def has_begun(workdir: str | os.PathLike[str]) -> bool:
    """Whether a training in this directory, or one stage of it, has saved a checkpoint."""
    workdir = pathlib.Path(workdir)
    folders = [*workdir.glob("checkpoints/*"), *workdir.glob("*/checkpoints/*")]
    return any(folder.name.isdigit() for folder in folders)


def check_length(workdir: str | os.PathLike[str], num_steps: int) -> None:
    """Make sure that a training of `num_steps` steps has not gone beyond them already: its config
    would tell of a shorter training than its networks have had.

    Raises:
      RunCheckpointError: if its last checkpoint is of a later step.
    """
    folders = pathlib.Path(workdir).glob("checkpoints/*")
    done = max((int(folder.name) for folder in folders if folder.name.isdigit()), default=0)
    if done > num_steps:
        raise RunCheckpointError(
            f"config.training.num_steps is {num_steps}, and the run in {workdir} has done {done};"
            " give it at least as many, or choose another --workdir"
        )


def train_resumably(
    state: State,
    batches: grain.DatasetIterator,
    train_step: TrainStep,
    *,
    directory: pathlib.Path,
    schedule: Schedule,
    data: dict[str, Any],
    devices: DataParallel,
    interrupts: Interrupts,
    pictures: Pictures | None = None,
    validation: Validation | None = None,
    requirements: Mapping[str, str] | None = None,
    shown: Sequence[str] = ("loss",),
    title: str = "training",
) -> tuple[State, bool]:
    """Train to the schedule's end, or until an interrupt.

    Args:
      state: the initial state, on the devices; consumed.
      batches: at the first batch.
      train_step: from `make_train_step`.
      directory: gets `checkpoints/`, `metrics.csv`, `tensorboard/` and, with pictures, `samples/`.
      schedule: when things happen.
      data: description of the batches (`describe_batches`).
      devices: over which a batch is split.
      interrupts: entered; deferred while training.
      pictures: what pictures are made meanwhile, if any.
      validation: what is measured besides, if anything; it keeps its files in its own directory.
      requirements: measurement that must be true at every step -> what to say where it is not.
      shown: measurements that stand beside the progress bar.
      title: of the progress bar.

    Returns:
      The state, and whether all steps are done.

    Raises:
      RunCheckpointError: if the checkpoint is of other data or other networks, of a step beyond the
        schedule's end, or cannot be written.
      OSError: if a measurement or a picture cannot be written.
      TrainingDiverged: as by `MetricsLog.add`.
    """
    num_steps = schedule.num_steps
    check_length(directory, num_steps)
    # Whatever happens, both are closed: threads of theirs that outlive the program end it in a mess.
    with contextlib.ExitStack() as opened:
        checkpoints = Checkpoints(directory / "checkpoints", keep=schedule.keep_checkpoints)
        opened.callback(checkpoints.close)
        steps_done, unfinished = 0, None
        if restored := checkpoints.restore(state, batches, data, devices.replicated):
            steps_done, state, batches, unfinished = restored
            if steps_done < num_steps:
                print(f"{title}: continuing after step {steps_done}")
        if validation and jax.process_index() == 0:
            validation.begin(steps_done, num_steps)
        log = MetricsLog(
            directory,
            steps_done=steps_done,
            num_steps=num_steps,
            batch_size=devices.batch_size,
            log_every=schedule.log_every,
            unfinished=unfinished,
            is_silent=jax.process_index() != 0,
            title=title,
            requirements=requirements,
            shown=shown,
        )
        opened.callback(log.close)
        with interrupts.deferred():
            state, step = train(
                state,
                batches,
                steps_done=steps_done,
                schedule=schedule,
                train_step=train_step,
                devices=devices,
                log=log,
                checkpoints=checkpoints,
                data=data,
                interrupts=interrupts,
                pictures=pictures,
                validation=validation,
                workdir=directory,
            )
    if step < num_steps:
        print(f"{interrupts.received}: stopped after step {step}; the same command continues")
    return state, step >= num_steps
