"""Checkpoints from which a run continues to the same bits: state, position in the data, notes."""

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import grain
import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding

from sdflow_jax.training.state import State


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, or does not fit the run that wants to continue from it."""


class Restored(NamedTuple):
    """A checkpoint's content.

    Attributes:
      step: steps that were done.
      state: arrays, where the example's arrays are.
      batches: the iterator, at the batch of the next step.
      notes: what was saved with it.
    """

    step: int
    state: State
    batches: grain.DatasetIterator
    notes: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run. Each is written under another name and then renamed, so it is
    whole or absent.

    Args:
      directory: where they are kept, a directory per checkpoint.
      keep: how many of the latest are kept.
    """

    def __init__(self, directory: str | os.PathLike[str], *, keep: int):
        self._directory = pathlib.Path(
            directory
        ).absolute()  # orbax fails on relative paths, when saving
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    @property
    def latest_step(self) -> int | None:
        """The step of the last checkpoint, None if there is none."""
        return self._manager.latest_step()

    def save(
        self,
        step: int,
        state: State,
        batches: grain.DatasetIterator,
        data: dict[str, Any],
        notes: dict[str, Any],
    ) -> None:
        """Begin to write a checkpoint; the arrays are copied before this returns.

        Args:
          step: steps done, more than at the last checkpoint.
          state: the training state.
          batches: the iterator, before the batch of the next step is taken.
          data: description of what the iterator yields (`describe_batches`).
          notes: anything JSON-able.

        Raises:
          CheckpointError: if orbax declines, or could not write this checkpoint or the one before,
            which is then written only in part and removed.
        """
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(_without_none(state)),
            batches=grain.checkpoint.CheckpointSave(batches),
            notes=ocp.args.JsonSave({"data": data, "notes": notes}),
        )
        with self._told():
            is_written = self._manager.save(step, args=args, force=True)
        if not is_written:
            raise CheckpointError(f"orbax wrote no checkpoint of step {step} in {self._directory}")

    def restore(
        self,
        example: State,
        batches: grain.DatasetIterator,
        data: dict[str, Any],
        sharding: Sharding,
    ) -> Restored:
        """Read the latest checkpoint.

        Args:
          example: a state of the same structure, shapes and types.
          batches: a fresh iterator over the same data.
          data: its description.
          sharding: where the arrays shall live.

        Raises:
          CheckpointError: if the data differ, or the checkpoint is damaged or of other networks.
        """
        step = self.latest_step
        notes = self._manager.restore(step, args=ocp.args.Composite(notes=ocp.args.JsonRestore()))[
            "notes"
        ]
        if notes["data"] != data:
            # The iterator's own state, a number of batches, would mean other faces here.
            raise CheckpointError(
                f"the checkpoint of step {step} in {self._directory} was trained on the batches"
                f" {notes['data']}, this run has {data};"
                " give the data back, or choose another --workdir"
            )
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            _without_none(example),
        )
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(target),
            batches=grain.checkpoint.CheckpointRestore(batches),
        )
        try:
            restored = self._manager.restore(step, args=args)
        except (ValueError, OSError, KeyError) as error:
            raise CheckpointError(
                f"the checkpoint {self._directory / str(step)} cannot be read ({error});"
                " if it was damaged, delete it and the run continues from the one before"
            ) from error
        state = {"average": None, **restored["state"]}
        return Restored(step, state, restored["batches"], notes["notes"])

    def close(self) -> None:
        """Wait until everything is written.

        Raises:
          CheckpointError: as for `save`.
        """
        with self._told():
            try:
                self._manager.wait_until_finished()
            finally:
                self._manager.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong while writing, here or in orbax's threads, as one sentence."""
        try:
            yield
        except Exception as error:  # tensorstore's are ValueErrors, whatever the disk has said
            for leftover in self._directory.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(leftover, ignore_errors=True)
            raise CheckpointError(
                f"no checkpoint could be written in {self._directory}: {_cause(error)}"
            ) from error


def _cause(error: Exception) -> str:
    """What the system said, of tensorstore's long account of it."""
    if found := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(found[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0]


def _without_none(state: State) -> State:
    return {name: value for name, value in state.items() if value is not None}
