"""Training and evaluating the runs of a study, each step done once however often it is interrupted."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

from sdflow_jax import networks
from sdflow_jax.config import JUDGING_ROLES, load_config
from sdflow_jax.evaluation import EvaluationSettings, results_directory
from sdflow_jax.figures.plan import ROOT, Run, Settings

TIMES_FILE = "seconds.json"

# What a method's export directory holds when it is whole.
_EXPORTS = {"sdflow": "flow", "interfacegan": "editing", "latent_transformer": "editing"}


class Stopped(RuntimeError):
    """A step failed or was interrupted; the same command continues."""


def is_trained(workdir: pathlib.Path) -> bool:
    """Whether the run has exported its networks."""
    try:
        method = load_config(workdir)["method"]
    except FileNotFoundError:
        return False
    names = ("semantic_encoder", _EXPORTS[method])
    return all((workdir / method / f"{name}.safetensors").exists() for name in names)


def evaluation_settings(settings: Settings, judge: str) -> EvaluationSettings:
    """The settings that `evaluate.py` gets."""
    return EvaluationSettings(
        num_faces=settings.faces_for(judge),
        strengths=settings.strengths,
        batch_size=settings.batch_size,
        num_samples=settings.num_samples,
    )


def is_evaluated(run: Run, judge: str, settings: Settings) -> bool:
    """Whether the results are there, of these very settings."""
    file = results_directory(run.workdir, judge) / "summary.json"
    if not file.exists():
        return False
    summary = json.loads(file.read_text())
    wanted = dataclasses.asdict(evaluation_settings(settings, judge))
    wanted["strengths"] = list(wanted["strengths"])
    files = load_config(run.workdir)["networks"]
    judge_files = {role: networks.digest(files[role]) for role in JUDGING_ROLES}
    return (
        summary.get("settings") == wanted
        and summary.get("split") == settings.split
        and summary.get("judge_files") == judge_files
    )


def carry_out(runs: Sequence[Run], settings: Settings, directory: pathlib.Path) -> None:
    """Train and evaluate whatever is not yet trained and evaluated.

    Raises:
      Stopped: if a step failed, or ended before it was done, as after Ctrl-C.
    """
    for number, run in enumerate(runs, 1):
        title = f"[{number}/{len(runs)}] {run.contender}, seed {run.seed}"
        if not is_trained(run.workdir):
            print(f"{title}: training", flush=True)
            flags = [f"--config.{key}={value}" for key, value in run.overrides.items()]
            _call(
                directory,
                f"train {run.workdir.name}",
                *("train.py", f"--config={run.config_flag}", f"--workdir={run.workdir}", *flags),
            )
            if not is_trained(run.workdir):
                raise Stopped(f"{title}: training stopped; the same command continues")
        for judge in settings.judges:
            if is_evaluated(run, judge, settings):
                continue
            print(f"{title}: evaluating, judges {judge}", flush=True)
            _call(
                directory,
                f"evaluate {run.workdir.name} {judge}",
                *("evaluate.py", f"--workdir={run.workdir}", f"--judge={judge}"),
                *(f"--split={settings.split}", f"--num_faces={settings.faces_for(judge)}"),
                f"--strengths={','.join(f'{x:g}' for x in settings.strengths)}",
                f"--batch_size={settings.batch_size}",
                f"--num_samples={settings.num_samples}",
            )


def seconds_spent(
    directory: pathlib.Path, runs: Sequence[Run], settings: Settings
) -> dict[str, float]:
    """Wall time of each step of these runs so far, interrupted attempts included."""
    steps = {f"train {run.workdir.name}" for run in runs}
    steps |= {f"evaluate {run.workdir.name} {judge}" for run in runs for judge in settings.judges}
    return {step: seconds for step, seconds in _read_times(directory).items() if step in steps}


def _read_times(directory: pathlib.Path) -> dict[str, float]:
    file = directory / TIMES_FILE
    return json.loads(file.read_text()) if file.exists() else {}


def _call(directory: pathlib.Path, step: str, script: str, *arguments: str) -> None:
    # A process each: its memory is given back, and an interrupt is train.py's own to handle. The
    # seeds of a contender compile the same programs, which the cache keeps.
    environment = {"JAX_COMPILATION_CACHE_DIR": str(directory / "compiled"), **os.environ}
    start = time.monotonic()
    try:
        code = subprocess.run(
            [sys.executable, str(ROOT / script), *arguments], env=environment, check=False
        ).returncode
    finally:
        spent = _read_times(directory)
        spent[step] = round(spent.get(step, 0.0) + time.monotonic() - start, 1)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / TIMES_FILE).write_text(json.dumps(spent, indent=1) + "\n")
    if code != 0:
        raise Stopped(f"{script} ended with status {code} ({step}); the same command continues")
