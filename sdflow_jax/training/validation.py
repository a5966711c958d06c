"""Measuring a training's states on faces that it does not learn from, and keeping the best of them."""

import os
import pathlib
from collections.abc import Callable, Mapping

from sdflow_jax.files.bars import Bar
from sdflow_jax.training.checkpoint import RunCheckpointError
from sdflow_jax.training.csv_file import CsvFile, read_column
from sdflow_jax.training.state import State

VALIDATION_FILE = "validation.csv"


class Validation:
    """Measures a state now and then, and keeps a file of the best so far.

    What has been measured stays with a run that is stopped: rows and files of steps beyond its last
    checkpoint are removed when it goes on, and come again.

    Args:
      directory: of the run; gets `validation.csv` and `best/STEP.safetensors`.
      every: interval in steps, at least 1; there is a measurement at the end, too.
      measure: state -> numbers by name, the same names every time.
      chosen_by: name of the number that is greatest in the best state; of several the first is
        taken.
      save: writes a state that has had so many steps to a file.
      shown: names of the numbers that are told on the screen and in TensorBoard.
      num_kept: how many of the best files stay. A run goes back as far as its oldest checkpoint, and
        needs the file that was the best there.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        every: int,
        measure: Callable[[State], Mapping[str, float]],
        chosen_by: str,
        save: Callable[[pathlib.Path, State, int], None],
        shown: tuple[str, ...],
        num_kept: int,
    ):
        self._file = pathlib.Path(directory) / VALIDATION_FILE
        self._folder = pathlib.Path(directory) / "best"
        self._every, self._measure, self._save = every, measure, save
        self._chosen_by, self._shown, self._num_kept = chosen_by, shown, num_kept

    def is_due(self, step: int, num_steps: int) -> bool:
        """Whether the state after `step` of `num_steps` steps is measured."""
        return step % self._every == 0 or step == num_steps

    def begin(self, steps_done: int, num_steps: int) -> None:
        """Forget what was measured beyond `steps_done`, or at what was the end of a shorter training."""

        def keeps(step: int) -> bool:
            return step <= steps_done and self.is_due(step, num_steps)

        CsvFile(self._file, keeps=keeps).close()
        for step, file in self._kept().items():
            if not keeps(step):
                file.unlink()

    def run(self, step: int, state: State) -> dict[str, float]:
        """Measure a state, and keep it if it is the best.

        Returns:
          The numbers that are shown.

        Raises:
          OSError: if something cannot be written.
        """
        found = self._measure(state)
        before = self._scores()
        # The file first: a row without it would claim a state that nobody has.
        if not before or self._as_written(found[self._chosen_by]) > max(before.values()):
            self._save(self._folder / f"{step:07d}.safetensors", state, step)
        log = CsvFile(self._file, keeps=lambda other: other < step)
        log.write({"step": step, **found})
        log.close()
        for file in list(self._kept().values())[: -self._num_kept]:
            file.unlink()
        shown = {name: found[name] for name in self._shown}
        words = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        Bar.write(f"step {step}, validation: {words}; the best is of step {self.best()[0]}")
        return shown

    def best(self) -> tuple[int, pathlib.Path]:
        """The step of the best state so far, and its file.

        Raises:
          RunCheckpointError: if nothing has been measured, or the files have been removed.
        """
        scores, files = self._scores(), self._kept()
        measured = [step for step in scores if step in files]
        if not measured:
            raise RunCheckpointError(
                f"{self._folder} has none of the networks that {self._file} tells of; give them"
                " back, or choose another --workdir"
            )
        step = max(measured, key=scores.__getitem__)  # the first of equals, for rows ascend
        return step, files[step]

    def _scores(self) -> dict[int, float]:
        return read_column(self._file, self._chosen_by)

    def _kept(self) -> dict[int, pathlib.Path]:
        return {int(file.stem): file for file in sorted(self._folder.glob("*.safetensors"))}

    @staticmethod
    def _as_written(value: float) -> float:
        """A number as it comes back from the file, so that a stopped run compares what another does."""
        return float(f"{value:.8g}")
