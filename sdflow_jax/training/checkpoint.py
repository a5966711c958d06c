"""Checkpoints from which a run continues to the same bits: state, position in the data, notes."""

import os
import pathlib
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
          CheckpointError: if orbax declines.
        """
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(_without_none(state)),
            batches=grain.checkpoint.CheckpointSave(batches),
            notes=ocp.args.JsonSave({"data": data, "notes": notes}),
        )
        if not self._manager.save(step, args=args, force=True):
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
        """Wait until everything is written."""
        self._manager.wait_until_finished()
        self._manager.close()


def _without_none(state: State) -> State:
    return {name: value for name, value in state.items() if value is not None}
