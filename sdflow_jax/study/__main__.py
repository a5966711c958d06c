"""Regenerate every figure and table of the comparison, in the pocket world.

    python -m sdflow_jax.study
    python -m sdflow_jax.study --seeds=1 --judges=config --out=runs/results
    python -m sdflow_jax.study --out=docs/results/six --seeds=1 --judges=config --num_faces=200 --pairs \\
        --methods=interfacegan,latent_transformer,styleflow,sdflow \\
        --attributes=Eyeglasses,Male,Young,Smiling,Facial_Hair,Wearing_Hat
    python -m sdflow_jax.study --tiny --runs=runs/tiny

Trains every method and ablation variant for each seed below `--runs`, with the settings that
`python -m sdflow_jax.study.tuning` has chosen for it, evaluates each by each set of judges, and writes
pictures, tables and the page to `--out`. What is done is not done again: the same command continues after any
interruption. Each run leaves its record in `--out`/records; whoever has only the records gets the tables and
curves from them in minutes, and with `--anew` trains everything again.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import time

from absl import logging

from sdflow_jax.evaluation import EvaluationError, ExternalJudges
from sdflow_jax.files.checkout import beside_package
from sdflow_jax.files.lock import locked
from sdflow_jax.study.execution import Stopped
from sdflow_jax.study.plan import (
    PAPER,
    ROOT,
    TINY,
    Settings,
    among,
    with_best_form,
)
from sdflow_jax.study.records import RecordError
from sdflow_jax.study.regenerate import regenerate
from sdflow_jax.study.searches import SEARCHES, VARIANT_SEARCHES
from sdflow_jax.study.trials_table import TABLE, best_of, chosen_settings
from sdflow_jax.study.tuning import TINY_TRIALS, TRIALS, outdated_methods


def main() -> None:
    """Read the command line and regenerate."""
    parser = argparse.ArgumentParser(
        prog="python -m sdflow_jax.study",
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
        "--out", type=pathlib.Path, help="docs/results by default, runs/results with --tiny"
    )
    parser.add_argument("--seeds", type=int, help="trainings of each method, with seeds 1, 2, ...")
    parser.add_argument(
        "--seeds_external", type=int, help="of these, how many the external judges see (1)"
    )
    parser.add_argument("--num_faces", type=int, help="faces that are edited")
    parser.add_argument("--split", choices=("test", "validation"), help="where they come from")
    parser.add_argument(
        "--pairs",
        action=argparse.BooleanOptionalAction,
        help="edit every two attributes together, too",
    )
    parser.add_argument(
        "--methods",
        help="those that are compared, with commas between; by default all, with the ablation's variants",
    )
    parser.add_argument(
        "--batch_size", type=int, help="faces per compiled call: few on a CPU (2), more on a GPU"
    )
    parser.add_argument(
        "--attributes", help="to edit, with commas between; the config's by default"
    )
    parser.add_argument(
        "--deadline", type=float, default=float("inf"), help="seconds after which nothing begins"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, which share the cores")
    parser.add_argument("--judges", help="sets of judges: config, external, or both by a comma")
    parser.add_argument(
        "--tuning",
        type=pathlib.Path,
        help="the table of chosen settings; docs/results/tuning.csv by default, none with --tiny",
    )
    parser.add_argument(
        "--anew",
        action="store_true",
        help="train and evaluate the runs of which only records are there",
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a few steps and faces: the machinery, not the numbers"
    )
    arguments = parser.parse_args()
    chosen = {
        name: value
        for name in ("seeds", "seeds_external", "num_faces", "split", "pairs", "batch_size")
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.judges:
        chosen["judges"] = tuple(arguments.judges.split(","))
        if unknown := set(chosen["judges"]) - {"config", "external"}:
            parser.error(f"unknown judges: {', '.join(sorted(unknown))}")
    for name in ("seeds", "seeds_external", "num_faces", "batch_size"):
        if chosen.get(name, 1) < 1:
            parser.error(f"--{name} must be at least 1, got {chosen[name]}")
    if arguments.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {arguments.jobs}")
    usual = ROOT / ("runs" if arguments.tiny else "docs") / "results"
    out = (arguments.out or usual).absolute()
    tuning = arguments.tuning or (None if arguments.tiny else ROOT / "docs" / "results" / TABLE)
    if arguments.tuning and not tuning.exists():
        parser.error(f"--tuning={tuning}: no such file")
    if tuning:
        searched = TINY_TRIALS if arguments.tiny else TRIALS
        if outdated := outdated_methods(SEARCHES, searched, tuning):
            print(
                f"{tuning}: what it chose for {', '.join(outdated)} was measured with other configs or networks"
                " than the present ones, and is taken as it stands; python -m sdflow_jax.study.tuning chooses anew",
                file=sys.stderr,
            )
        chosen["chosen"] = chosen_settings(tuning)
        chosen["trials_file"] = os.path.relpath(tuning, out)
    settings = dataclasses.replace(TINY if arguments.tiny else Settings(), **chosen)
    if arguments.attributes:
        names = tuple(arguments.attributes.split(","))
        overrides = {**settings.overrides, "attributes": names}
        settings = dataclasses.replace(settings, overrides=overrides)
    study = with_best_form(PAPER, tuning and best_of(tuning, ("sdflow", *VARIANT_SEARCHES)))
    if arguments.methods:
        try:
            study = among(study, arguments.methods.split(","))
        except ValueError as error:
            parser.error(f"--methods: {error}")
    logging.set_verbosity(logging.WARNING)
    try:
        beside_package("train.py")
        if "external" in settings.judges:
            ExternalJudges()  # missing packages are found out now and not after hours
        with locked(arguments.runs.absolute(), "regenerating the figures"):
            is_done = regenerate(
                study,
                settings,
                arguments.runs.absolute(),
                out,
                jobs=arguments.jobs,
                deadline=time.monotonic() + arguments.deadline,
                is_anew=arguments.anew,
            )
    # OSError: a disk that is full, or may not be written; runs that another process is making; no
    # train.py beside the package.
    except (EvaluationError, RecordError, Stopped, OSError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        raise SystemExit(130) from None
    if not is_done:
        print("the deadline came first; the same command continues")
        return
    print(f"Results: {out / 'README.md'}")


if __name__ == "__main__":
    main()
