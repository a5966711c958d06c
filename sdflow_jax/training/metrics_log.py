"""Measurements of a run: a progress bar, a CSV file and TensorBoard events."""

import collections
import math
import os
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, UInt8

from sdflow_jax.files.bars import Bar
from sdflow_jax.training.csv_file import CsvFile
from sdflow_jax.training.event_file import EventFile

CSV_FILE = "metrics.csv"

Batch = Mapping[str, np.ndarray]

# Steps whose measurements are not fetched yet: enough to keep the device busy while the host
# prepares the next.
_LAG = 2

# So many skipped steps, one after the other, are no accident any more.
MAX_SKIPPED_IN_A_ROW = 5


class TrainingDiverged(RuntimeError):
    """Steps gave numbers that are not finite, or something was not true that must be."""


class MetricsLog:
    """Collects the scalars of each step a few steps late, so that no step waits for them.

    A row is the mean over the `log_every` steps before it, without those that were skipped
    (`is_skipped`), which it counts. Rows beyond `steps_done`, from a run that was killed after its
    last checkpoint, are removed.

    Args:
      workdir: gets `metrics.csv` and the directory `tensorboard`.
      steps_done: before this log begins.
      num_steps: steps in all, for the progress bar.
      batch_size: faces per step, for the speed.
      log_every: steps per row.
      unfinished: what `unfinished()` returned when the checkpoint of `steps_done` was saved.
      is_silent: write nothing (processes other than the first); the checks still run.
      title: what stands before the progress bar.
      requirements: name of a measurement that must be true at every step -> what to say where it is
        not. Such a measurement is checked and not recorded.
      shown: names of the measurements that stand beside the progress bar, where they occur.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        steps_done: int,
        num_steps: int,
        batch_size: int,
        log_every: int,
        unfinished: Mapping[str, Any] | None = None,
        is_silent: bool = False,
        title: str = "training",
        requirements: Mapping[str, str] | None = None,
        shown: Sequence[str] = ("loss",),
    ):
        self._requirements = dict(requirements or {})
        self._shown = tuple(shown)
        self._batch_size = batch_size
        self._log_every = log_every
        self._waiting: collections.deque[tuple[int, dict[str, Array], Batch]] = collections.deque()
        self._sums: dict[str, float] = dict(unfinished["sums"]) if unfinished else {}
        self._count: int = unfinished["count"] if unfinished else 0
        # Which older checkpoints do not tell.
        self._skipped: int = unfinished.get("skipped", 0) if unfinished else 0
        self._in_a_row: int = unfinished.get("in_a_row", 0) if unfinished else 0
        self._since: float | None = None
        self._timed_steps = 0
        self._is_silent = is_silent
        if is_silent:
            return
        workdir = pathlib.Path(workdir)
        self._csv = CsvFile(workdir / CSV_FILE, keeps=lambda step: step <= steps_done)
        self._board = EventFile(workdir / "tensorboard", begin=steps_done + 1)
        self._bar = Bar(
            total=num_steps,
            initial=steps_done,
            unit="step",
            desc=title,
            mininterval=0.5,
            postfix="the first step is compiled before",
        )

    def add(self, step: int, measured: Mapping[str, Array], batch: Batch | None = None) -> None:
        """Take the scalars of a step, which may still be computing, and the batch, to describe it
        if the step was skipped.

        Raises:
          TrainingDiverged: if an earlier step's numbers, fetched now, are not finite or do not meet
            a requirement: at once if that step was not skipped, or if it is the last of
            `MAX_SKIPPED_IN_A_ROW`.
        """
        self._waiting.append((step, dict(measured), batch or {}))
        if len(self._waiting) > _LAG:
            self._fetch()

    def flush(self) -> None:
        """Wait for all steps so far, and check them.

        Raises:
          TrainingDiverged: as for `add`.
        """
        while self._waiting:
            self._fetch()

    def unfinished(self) -> dict[str, Any]:
        """The part of the next row that is already measured; JSON-able."""
        return {
            "sums": dict(self._sums),
            "count": self._count,
            "skipped": self._skipped,
            "in_a_row": self._in_a_row,
        }

    def restart_clock(self) -> None:
        """Leave out of the speed what has happened since the last row (pictures, saving)."""
        self._since = None
        self._timed_steps = 0

    def add_image(self, name: str, step: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Show an image in TensorBoard."""
        if not self._is_silent:
            self._board.add_image(name, image, step)

    def add_scalars(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """Show numbers in TensorBoard that are not a step's own."""
        if not self._is_silent:
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Write what is still buffered."""
        if not self._is_silent:
            self._bar.close()
            self._board.close()
            self._csv.close()

    def _fetch(self) -> None:
        step, measured, batch = self._waiting.popleft()
        values = {name: value.item() for name, value in jax.device_get(measured).items()}
        is_skipped = values.pop("is_skipped", False)
        complaint = self._complaint(values)
        if is_skipped and not complaint:  # the updated weights are not finite, or the losses say so
            complaint = "the step's result was not valid"
        if complaint:
            self._report(f"step {step}: {complaint}", values, batch, is_skipped=is_skipped)
        self._in_a_row = self._in_a_row + 1 if is_skipped else 0
        self._skipped += is_skipped
        for name, value in values.items():
            if name not in self._requirements:
                self._sums[name] = self._sums.get(name, 0.0) + (0.0 if is_skipped else value)
        self._count += not is_skipped
        if (
            self._since is None
        ):  # the clock starts after a step, so that compilation is not measured
            self._since = time.perf_counter()
        else:
            self._timed_steps += 1
        if not self._is_silent:
            self._bar.update(step - self._bar.n)
        if step % self._log_every == 0:
            self._write(step)

    def _write(self, step: int) -> None:
        row = {
            name: value / self._count if self._count else math.nan
            for name, value in self._sums.items()
        }
        row["skipped"] = self._skipped
        self._sums, self._count, self._skipped = {}, 0, 0
        if self._since is not None and self._timed_steps:
            now = time.perf_counter()
            row["images_per_second"] = self._timed_steps * self._batch_size / (now - self._since)
            self._since, self._timed_steps = now, 0
        else:
            row["images_per_second"] = math.nan  # no two steps to time
        if self._is_silent:
            return
        self._csv.write({"step": step, **row})
        for name, value in row.items():
            if math.isfinite(value):
                self._board.add_scalar(f"training/{name}", value, step)
        self._bar.set_postfix_str(self._summary(row), refresh=False)

    def _complaint(self, values: Mapping[str, float]) -> str:
        """What is wrong with the numbers of a step, if anything."""
        for name, complaint in self._requirements.items():
            if not values[name]:
                return complaint
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if not bad:
            return ""
        return (
            f"{', '.join(bad)} not finite; try a lower config.optimizer.learning_rate or a"
            " config.optimizer.gradient_clip, in another --workdir"
        )

    def _report(
        self, complaint: str, values: Mapping[str, float], batch: Batch, *, is_skipped: bool
    ) -> None:
        """Say that a step was skipped, or end the training."""
        numbers = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
        diagnosis = f"{complaint} (measured: {numbers}; the batch: {_describe(batch)})"
        if not is_skipped:
            raise TrainingDiverged(diagnosis)
        if self._in_a_row + 1 >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingDiverged(
                f"{MAX_SKIPPED_IN_A_ROW} steps in a row were skipped, the last of them {diagnosis}"
            )
        if not self._is_silent:
            Bar.write(f"skipped {diagnosis}", file=sys.stderr)

    def _summary(self, row: Mapping[str, float]) -> str:
        shown = [f"{name} {row[name]:.4g}" for name in self._shown if name in row]
        if math.isfinite(row["images_per_second"]):
            shown.append(f"{row['images_per_second']:.1f} images/s")
        return ", ".join(shown)


def _describe(batch: Batch) -> str:
    """The range of each array of a batch, and the rows that are not finite."""
    words = []
    for name, values in batch.items():
        values = np.asarray(values, np.float32)
        is_finite = np.isfinite(values)
        rows = np.flatnonzero(~is_finite.reshape(len(values), -1).all(1))
        low, high = (
            values.min(where=is_finite, initial=np.inf),
            values.max(where=is_finite, initial=-np.inf),
        )
        words.append(
            f"{name} in [{low:.4g}, {high:.4g}]"
            + (f" but not finite in rows {', '.join(map(str, rows))}" if len(rows) else "")
        )
    return "; ".join(words) or "not told"
