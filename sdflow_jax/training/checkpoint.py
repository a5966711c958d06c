"""Checkpoints from which a run continues to the same bits: state, position in the data, notes."""

import contextlib
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import grain
import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding

from sdflow_jax.training.seal import content_of, seal_of, shapes_of
from sdflow_jax.training.state import State


class RunCheckpointError(RuntimeError):
    """A checkpoint could not be written, or does not fit the run that wants to continue from it."""


class _Damaged(Exception):
    """A checkpoint is not what was saved."""


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
    whole or absent, and holds a seal by which damage done to it later is found out.

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
          RunCheckpointError: if orbax declines, or could not write this checkpoint or the one before,
            which is then written only in part and removed.
        """
        told = {
            "data": data,
            "notes": notes,
            "shapes": shapes_of(state),
            "content": content_of(_without_none(state), batches),
        }
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(_without_none(state)),
            batches=grain.checkpoint.CheckpointSave(batches),
            notes=ocp.args.JsonSave({**told, "seal": seal_of(told)}),
        )
        with self._in_a_sentence():
            is_written = self._manager.save(step, args=args, force=True)
        if not is_written:
            raise RunCheckpointError(
                f"orbax wrote no checkpoint of step {step} in {self._directory}"
            )

    def restore(
        self,
        example: State,
        batches: grain.DatasetIterator,
        data: dict[str, Any],
        sharding: Sharding,
    ) -> Restored | None:
        """Read the latest checkpoint that is whole.

        One that is damaged is reported on standard error and renamed to `damaged-STEP`, and the one
        before it is read.

        Args:
          example: a state of the same structure, shapes and types.
          batches: a fresh iterator over the same data.
          data: its description.
          sharding: where the arrays shall live.

        Returns:
          What was saved; None if no checkpoint is left.

        Raises:
          RunCheckpointError: if the data differ or the checkpoint is of other networks; or if it is
            damaged, and several processes would have to agree on another.
        """
        beginning = batches.get_state()
        while (step := self.latest_step) is not None:
            try:
                return self._read(step, example, batches, data, sharding)
            except _Damaged as error:
                self._set_aside(step, error)
        batches.set_state(beginning)  # a damaged checkpoint may have moved them
        return None

    def _read(
        self,
        step: int,
        example: State,
        batches: grain.DatasetIterator,
        data: dict[str, Any],
        sharding: Sharding,
    ) -> Restored:
        told = self._restored(step, notes=ocp.args.JsonRestore())["notes"]
        is_sealed = set(told) != {"data", "notes"}  # as all were once
        if is_sealed and told.pop("seal", None) != seal_of(told):
            raise _Damaged("its notes are not those that were saved")
        if told["data"] != data:
            # The iterator's own state, a number of batches, would mean other faces here.
            raise RunCheckpointError(
                f"the checkpoint of step {step} in {self._directory} was trained on the batches"
                f" {told['data']}, this run has {data};"
                " give the data back, or choose another --workdir"
            )
        if is_sealed and told["shapes"] != shapes_of(example):
            raise RunCheckpointError(
                f"the checkpoint {self._directory / str(step)} is of other networks:"
                f" {_difference(told['shapes'], shapes_of(example))}; give them back, or choose"
                " another --workdir"
            )
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            _without_none(example),
        )
        try:
            restored = self._restored(
                step,
                state=ocp.args.StandardRestore(target),
                batches=grain.checkpoint.CheckpointRestore(batches),
            )
        except _Damaged as error:
            if is_sealed:
                raise
            raise RunCheckpointError(
                f"the checkpoint {self._directory / str(step)} cannot be read ({error}); if it is"
                " not of other networks but damaged, delete it and the run continues from the one"
                " before"
            ) from error
        if is_sealed and content_of(restored["state"], restored["batches"]) != told["content"]:
            raise _Damaged("its content is not what was saved")
        state = {"average": None, **restored["state"]}
        return Restored(step, state, restored["batches"], told["notes"])

    def _restored(self, step: int, **arguments: ocp.args.CheckpointArgs) -> Any:
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**arguments))
        except Exception as error:  # damaged bytes lead orbax, tensorstore and json to anything
            words = " ".join(str(error).split())
            raise _Damaged(f"{type(error).__name__}: {words[:200]}") from error

    def _set_aside(self, step: int, error: _Damaged) -> None:
        damaged = self._directory / str(step)
        if jax.process_count() > 1:
            raise RunCheckpointError(
                f"the checkpoint {damaged} is damaged ({error}); move it away, and the run continues"
                " from the one before"
            ) from error
        aside = _free_name(self._directory / f"damaged-{step}")
        damaged.rename(aside)
        self._manager.reload()
        before = self.latest_step
        print(
            f"the checkpoint of step {step} is damaged ({error}) and was set aside as {aside};"
            + (f" going back to step {before}" if before else " no other is left: beginning anew"),
            file=sys.stderr,
        )

    def close(self) -> None:
        """Wait until everything is written.

        Raises:
          RunCheckpointError: as for `save`.
        """
        with self._in_a_sentence():
            try:
                self._manager.wait_until_finished()
            finally:
                self._manager.close()

    @contextlib.contextmanager
    def _in_a_sentence(self) -> Iterator[None]:
        """What goes wrong while writing, here or in orbax's threads, as one sentence."""
        try:
            yield
        except Exception as error:  # tensorstore's are ValueErrors, whatever the disk has said
            for leftover in self._directory.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(leftover, ignore_errors=True)
            raise RunCheckpointError(
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


def _difference(saved: dict[str, str], wanted: dict[str, str]) -> str:
    """The first array that is not the same."""
    path = min(key for key in {*saved, *wanted} if saved.get(key) != wanted.get(key))
    return f"{path} is {saved.get(path, 'missing')} there and {wanted.get(path, 'missing')} here"


def _free_name(path: pathlib.Path) -> pathlib.Path:
    """A path, or the same with a number behind it, at which nothing lies yet."""
    names = (path, *(path.with_name(f"{path.name}-{i}") for i in range(2, 1000)))
    return next(name for name in names if not name.exists())
