"""Numbers that are not finite, and equations that are not solved: skipped, counted, diagnosed."""

import contextlib
import csv
import io
import pathlib
import random

import numpy as np

from reliability import small_training
from reliability.parts import Context, Row
from reliability.small_training import HARMS
from sdflow_jax.training.metrics_log import MAX_SKIPPED_IN_A_ROW, TrainingDiverged

_FULL = 25  # of each kind
_STEPS = 40

_TOLD = {
    "loss NaN": "error, loss not finite",
    "loss infinite": "error, loss not finite",
    "gradient not finite": "gradient_norm not finite",
    "equation not solved": "the equation was not solved within its steps",
}


def run(context: Context) -> list[Row]:
    """Harm of each kind at random steps, and then at all of them."""
    begun = small_training.begin()
    rng = context.random()
    rows = []
    for kind, name in list(enumerate(HARMS))[1:]:
        count, injected, failures = context.count(_FULL), 0, []
        while injected < count:
            workdir = context.directory / f"{kind}-{injected}"
            harms = scattered(kind, min(count - injected, _STEPS // 3), rng)
            injected += sum(harm > 0 for harm in harms)
            if wrong := skipped_as_if_not_there(workdir, harms, begun):
                failures += [f"{name} at {harms}: {wrong}"]
        survived = count if not failures else 0
        rows.append(Row(f"{name} at a step", count, survived, "skipped and counted", failures))
        wrong = ends_with_a_diagnosis(context.directory / f"all-{kind}", kind, begun)
        remark = f"ends after {MAX_SKIPPED_IN_A_ROW} in a row, with a diagnosis"
        rows.append(
            Row(f"{name} at every step", 1, int(not wrong), remark, [wrong] if wrong else [])
        )
    return rows


def scattered(kind: int, count: int, rng: random.Random) -> list[int]:
    """Harm at so many steps, never as often in a row as ends a training."""
    while True:
        chosen = rng.sample(range(_STEPS), count)
        harms = [kind * (i in chosen) for i in range(_STEPS)]
        row = "".join(str(int(harm > 0)) for harm in harms)
        if "1" * MAX_SKIPPED_IN_A_ROW not in row:
            return harms


def skipped_as_if_not_there(workdir: pathlib.Path, harms: list[int], begun) -> str:
    """Whether a training ends as one without the harmed batches does; what is wrong, if anything."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        found = _train(workdir / "harmed", harms, range(_STEPS), begun)
    sound = [i for i, harm in enumerate(harms) if not harm]
    expected = _train(workdir / "sound", [0] * len(sound), sound, begun)
    other = [key for key, value in expected.items() if not np.array_equal(value, found[key])]
    if other:
        return f"other {', '.join(other)}"
    with (workdir / "harmed" / "metrics.csv").open() as file:
        counted = sum(int(row["skipped"]) for row in csv.DictReader(file))
    told = said.getvalue().count("skipped step")
    if not counted == told == _STEPS - len(sound):
        return f"{counted} were counted, {told} told"
    return ""


def ends_with_a_diagnosis(workdir: pathlib.Path, kind: int, begun) -> str:
    """Whether a training with harm at every step says why it ends; what is wrong, if anything."""
    words = ["steps in a row were skipped", "step 5", "evaluations 13", "x in ["]
    words += [_TOLD[HARMS[kind]]]
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            _train(workdir, [kind] * _STEPS, range(_STEPS), begun)
    except TrainingDiverged as error:
        missing = [word for word in words if word not in str(error)]
        return f"{missing} is missing in: {error}" if missing else ""
    return "it did not end"


def _train(workdir, harms, numbers, begun) -> dict[str, np.ndarray]:
    batches = small_training.batches_of(harms, numbers)
    state = small_training.train(
        workdir, batches, num_steps=len(harms), checkpoint_every=_STEPS, begun=begun
    )
    return small_training.arrays(state)
