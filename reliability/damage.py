"""Damage done to the newest checkpoint: reported, set aside, and the one before it used."""

import contextlib
import io
import pathlib
import random
import shutil
from collections.abc import Callable

import numpy as np

from reliability import small_training
from reliability.parts import Context, Row

KINDS = ("truncated", "bit-flipped", "empty", "missing a file")
NUM_STEPS = 12
EVERY = 4

_FULL = 50  # of each kind
_LONG = NUM_STEPS + EVERY
_SAVED = (NUM_STEPS - EVERY, NUM_STEPS)


def damage(file: pathlib.Path, kind: str, rng: random.Random) -> None:
    """Do one of `KINDS` to a file."""
    content = bytearray(file.read_bytes())
    if kind == "missing a file":
        file.unlink()
    elif kind == "empty" or not content:
        file.write_bytes(b"")
    elif kind == "truncated":
        file.write_bytes(content[: rng.randrange(len(content))])
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)


def run(context: Context) -> list[Row]:
    """Damage of each kind to a file of the newest checkpoint that matters, chosen at random."""
    trial = Trial(context.directory)
    rng = context.random()
    rows = []
    for kind in KINDS:
        count, failures, used = context.count(_FULL), [], {8: 0, 12: 0}
        for i in range(count):
            step, wrong = trial.after(kind, rng)
            used[step] = used.get(step, 0) + 1
            failures += [f"{kind}, number {i}: {wrong}"] if wrong else []
        remark = f"{used[8]} set aside, {used[12]} harmless"
        rows.append(
            Row(f"newest checkpoint {kind}", count, count - len(failures), remark, failures)
        )
    return rows


class Trial:
    """A run of a few steps, its newest checkpoint damaged, and continued for a few more."""

    def __init__(self, directory: pathlib.Path):
        self._directory = directory
        self._begun = small_training.begin()
        self._saved = directory / "saved"
        self._train(self._saved, NUM_STEPS)
        whole = directory / "whole"
        shutil.copytree(self._saved, whole)
        self.expected = small_training.arrays(self._train(whole, _LONG))

    def _train(self, workdir: pathlib.Path, num_steps: int):
        with contextlib.redirect_stdout(io.StringIO()):
            return small_training.train(
                workdir,
                small_training.batches_of([0] * _LONG, range(_LONG)),
                num_steps=num_steps,
                checkpoint_every=EVERY,
                begun=self._begun,
            )

    def after(self, kind: str, rng: random.Random) -> tuple[int, str]:
        """Damage a file of the newest checkpoint; see `after_harm`."""

        def harm(newest: pathlib.Path) -> None:
            files = sorted(file for file in newest.rglob("*") if file.is_file())
            damage(rng.choice(files), kind, rng)

        return self.after_harm(harm)

    def after_harm(self, harm: Callable[[pathlib.Path], None]) -> tuple[int, str]:
        """From which step a run continues after harm done to the directory of its newest checkpoint,
        and what is wrong with how it does, if anything.
        """
        workdir = self._directory / "damaged"
        shutil.rmtree(workdir, ignore_errors=True)
        shutil.copytree(self._saved, workdir)
        checkpoints = workdir / "checkpoints"
        harm(checkpoints / str(NUM_STEPS))
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            found = small_training.arrays(self._train(workdir, _LONG))
        aside = [step for step in _SAVED if (checkpoints / f"damaged-{step}").is_dir()]
        left = max(step for step in (0, *_SAVED) if step not in aside)
        told = [
            step for step in _SAVED if f"checkpoint of step {step} is damaged" in said.getvalue()
        ]
        if aside != told:
            return left, f"{aside} were set aside, and {told} said to be"
        other = [x for x, value in self.expected.items() if not np.array_equal(found[x], value)]
        return left, f"ends with other {', '.join(other)}" if other else ""
