"""Equal care for every method: the same number of trials for each, chosen by one rule on validation faces.

    python -m sdflow_jax.study.tuning --jobs=2
    python -m sdflow_jax.study.tuning --methods=sdflow,styleflow --deadline=540
    python -m sdflow_jax.study.tuning --only=sdflow:0-3,interfacegan:1
    python -m sdflow_jax.study.tuning --plan

`searches.py` holds the plan (--plan prints it), `scoring.py` the rule. Each trial is one training with seed 0,
which the comparison leaves out, and one evaluation of validation faces by the config's judges, below `--runs`.
Its row is in `OUT/tuning.csv` as soon as it is done, and is not done again while the row stands; its edits of
the first eight validation faces are in `RUNS/pictures`. Settings are chosen once all trials of a method are there.
`python -m sdflow_jax.study` takes them from the table. Several trials may share one GPU: let each take
the memory that it needs, by XLA_PYTHON_CLIENT_PREALLOCATE=false.
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import sys
import time
from collections.abc import Collection, Mapping
from typing import Any

from absl import logging
from PIL import Image

from sdflow_jax.evaluation.report import load_outcomes
from sdflow_jax.files import networks
from sdflow_jax.files.atomic import write_atomic
from sdflow_jax.files.checkout import beside_package
from sdflow_jax.files.lock import locked
from sdflow_jax.study.execution import (
    Stopped,
    carry_out,
    evaluation_settings,
    results_of,
    seconds_spent,
)
from sdflow_jax.study.plan import ROOT, TINY, Run, Settings, plan_run
from sdflow_jax.study.scoring import score
from sdflow_jax.study.searches import SEARCHES, Search, plan_lines
from sdflow_jax.study.tables import markdown_table
from sdflow_jax.study.trials_table import TABLE, Row, choose, read_table, scored_row, write_table

SEED = 0  # none of the comparison's, `plan.FIRST_SEED` and on
_JUDGE = "config"
_PICTURE_WIDTH = 1600
# A step that ends with one of these was carried out: the settings do not work.
_OUTCOMES = ("TrainingDiverged", "FloatingPointError")

TRIALS = Settings(
    seeds=1,
    judges=(_JUDGE,),
    split="validation",
    num_faces=200,
    # The comparison's, fewer of them.
    strengths=(0.0, 0.4, 0.7, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 6.0, 12.0),
    pairs=False,
    batch_size=40,
    num_samples=0,
)
TINY_TRIALS = dataclasses.replace(
    TRIALS, num_faces=8, batch_size=8, strengths=TINY.strengths, overrides=TINY.overrides
)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One trial of a method.

    Attributes:
      number: of the method's trials, from 0.
      settings: by which it differs from the method's config.
      run: its training.
      digest: of the training, the judges and the measurement: what decides its row.
    """

    number: int
    settings: Mapping[str, Any]
    run: Run
    digest: str


def plan_trials(
    searches: Mapping[str, Search], settings: Settings, directory: pathlib.Path
) -> list[Trial]:
    """Every trial: the first of every method, then the second, and so on.

    No trial is a training of the comparison, which begins with another seed.
    """
    longest = max(len(search.trials) for search in searches.values())
    return [
        _plan_trial(method, search, number, settings, directory)
        for number in range(longest)
        for method, search in searches.items()
        if number < len(search.trials)
    ]


def _plan_trial(
    method: str, search: Search, number: int, settings: Settings, directory: pathlib.Path
) -> Trial:
    own = search.trials[number]
    overrides = {**own, **settings.overrides}
    run = plan_run(method, search.config, SEED, overrides, settings.judges, directory)
    decisive = {
        "run": run.workdir.name,
        "judges": {role: networks.digest(file) for role, file in run.judge_files.items()},
        "split": settings.split,
        "evaluation": dataclasses.asdict(evaluation_settings(settings, _JUDGE)),
    }
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:10]
    return Trial(number, own, run, digest)


def tune(
    searches: Mapping[str, Search],
    settings: Settings,
    directory: pathlib.Path,
    table: pathlib.Path,
    *,
    wanted: Mapping[str, Collection[int]] | None = None,
    jobs: int = 1,
    deadline: float = float("inf"),
) -> list[str]:
    """Carry out the trials that have no row yet, and choose where all of a method's are there.

    Args:
      searches: method -> its trials.
      settings: how a trial is measured.
      directory: of the trainings; `directory/pictures` gets a picture of each trial.
      table: the file of rows.
      wanted: method -> numbers of the trials to carry out; None for all.
      jobs: trials at a time.
      deadline: `time.monotonic()` from which on nothing more begins.

    Returns:
      What went wrong with trials that have no row for that reason.

    Raises:
      Stopped: after an interruption.
    """
    trials = plan_trials(searches, settings, directory)
    by_digest = {trial.digest: trial for trial in trials}
    rows = {row["digest"]: row for row in read_table(table) if row["digest"] in by_digest}
    due = {
        trial.run.workdir: trial
        for trial in trials
        if trial.digest not in rows
        and (wanted is None or trial.number in wanted.get(trial.run.method, ()))
    }
    problems: list[str] = []

    def add(row: Row) -> None:
        rows[row["digest"]] = row
        ordered = [rows[digest] for digest in _in_table(trials, searches) if digest in rows]
        write_table(table, choose(ordered, {x: len(s.trials) for x, s in searches.items()}))

    def done(run: Run) -> None:
        trial = due[run.workdir]
        results = results_of(run, _JUDGE, settings)
        found = score(load_outcomes(results / "outcomes.npz"))
        name = f"{run.method}-trial{trial.number}"
        _keep_picture(results / "edits.png", directory / "pictures" / f"{name}.jpg")
        add(_row(trial, found, seconds_spent(directory, run, settings.split)))
        print(f"{run.method}, trial {trial.number}: score {found.value:.4f}", flush=True)

    def failed(run: Run, error: Stopped) -> None:
        trial = due[run.workdir]
        words = str(error)
        if reasons := [reason for reason in _OUTCOMES if reason in words]:
            add(_row(trial, None, seconds_spent(directory, run, settings.split), note=reasons[0]))
        else:
            problems.append(f"{run.method}, trial {trial.number}: {words}")
        print(f"{run.method}, trial {trial.number}: {words}", flush=True)

    if due:
        runs = [trial.run for trial in due.values()]
        names = {x: f"{t.run.method}, trial {t.number}" for x, t in due.items()}
        carry_out(
            runs,
            settings,
            directory,
            jobs=jobs,
            deadline=deadline,
            has_logs=True,
            names=names,
            done=done,
            failed=failed,
        )
        left = sum(trial.digest not in rows for trial in due.values())
        if left > len(problems) and time.monotonic() >= deadline:
            print(f"{left} trials are left; the same command continues", flush=True)
    return problems


def _in_table(trials: list[Trial], searches: Mapping[str, Search]) -> list[str]:
    """The digests in the order of the table: method by method."""
    order = list(searches)
    trials = sorted(trials, key=lambda trial: (order.index(trial.run.method), trial.number))
    return [trial.digest for trial in trials]


def _row(trial: Trial, found: Any, seconds: float | None, note: str = "") -> Row:
    settings = dict(trial.settings)
    return scored_row(trial.run.method, trial.number, settings, trial.digest, found, seconds, note)


def _keep_picture(source: pathlib.Path, target: pathlib.Path) -> None:
    with Image.open(source) as image:
        smaller = image.convert("RGB")
        smaller.thumbnail((_PICTURE_WIDTH, _PICTURE_WIDTH))
    write_atomic(target, lambda stream: smaller.save(stream, format="jpeg", quality=85))


def outdated_methods(
    searches: Mapping[str, Search], settings: Settings, table: pathlib.Path
) -> list[str]:
    """The methods whose chosen row was measured with another config, other networks or other judges than
    the present ones, by its digest.

    Args:
      searches: method -> its trials.
      settings: how a trial is measured.
      table: the file of rows.
    """
    present = {trial.digest for trial in plan_trials(searches, settings, pathlib.Path())}
    return [
        row["method"]
        for row in read_table(table)
        if row["chosen"] == "yes" and row.get("digest") not in present
    ]


def read_wanted(words: str, searches: Mapping[str, Search]) -> dict[str, set[int]]:
    """The trials that `--only` names: `METHOD:NUMBER` or `METHOD:FIRST-LAST`, with commas between.

    Raises:
      ValueError: for a method or a number that is not in the plan.
    """
    wanted: dict[str, set[int]] = {}
    for word in words.split(","):
        method, _, numbers = word.partition(":")
        first, _, last = numbers.partition("-")
        if method not in searches or not first.isdigit() or not (last or first).isdigit():
            raise ValueError(f"expected METHOD:NUMBER or METHOD:FIRST-LAST, got {word!r}")
        chosen = set(range(int(first), int(last or first) + 1))
        count = len(searches[method].trials)
        if not chosen or max(chosen) >= count:
            raise ValueError(f"{method} has the trials 0 to {count - 1}, got {word!r}")
        wanted.setdefault(method, set()).update(chosen)
    return wanted


def main() -> None:
    """Read the command line and tune."""
    parser = argparse.ArgumentParser(
        prog="python -m sdflow_jax.study.tuning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--runs",
        type=pathlib.Path,
        default=ROOT / "runs" / "figures",
        help="of the trainings (runs/figures)",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        help="of tuning.csv: docs/results by default, runs/results with --tiny",
    )
    parser.add_argument("--methods", help=f"with commas between; of {', '.join(SEARCHES)}")
    parser.add_argument("--only", help="trials, as METHOD:NUMBER or METHOD:FIRST-LAST, with commas")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument(
        "--deadline", type=float, default=float("inf"), help="seconds after which nothing begins"
    )
    parser.add_argument("--plan", action="store_true", help="print the plan, and do nothing")
    parser.add_argument(
        "--tiny", action="store_true", help="a few steps and faces: the machinery, not the numbers"
    )
    arguments = parser.parse_args()
    if arguments.plan:
        print(markdown_table(["method", "trials", "settings"], plan_lines(SEARCHES)))
        return
    if arguments.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {arguments.jobs}")
    wanted = None
    if arguments.methods:
        methods = arguments.methods.split(",")
        if unknown := set(methods) - set(SEARCHES):
            parser.error(f"unknown methods: {', '.join(sorted(unknown))}")
        wanted = {method: set(range(len(SEARCHES[method].trials))) for method in methods}
    if arguments.only:
        try:
            named = read_wanted(arguments.only, SEARCHES)
        except ValueError as error:
            parser.error(f"--only: {error}")
        wanted = named if wanted is None else {x: named.get(x, set()) for x in wanted}
    directory = arguments.runs.absolute()
    usual = ROOT / ("runs" if arguments.tiny else "docs") / "results"
    table = (arguments.out or usual).absolute() / TABLE
    logging.set_verbosity(logging.WARNING)
    try:
        beside_package("train.py")
        with locked(directory, "tuning"):
            problems = tune(
                SEARCHES,
                TINY_TRIALS if arguments.tiny else TRIALS,
                directory,
                table,
                wanted=wanted,
                jobs=arguments.jobs,
                deadline=time.monotonic() + arguments.deadline,
            )
    except (Stopped, OSError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        raise SystemExit(130) from None
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"Trials: {table}")


if __name__ == "__main__":
    main()
