"""Training and evaluating the runs of a study, each step done once however often it is interrupted."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence, Set

from sdflow_jax.evaluation import EvaluationSettings, results_directory
from sdflow_jax.files import networks
from sdflow_jax.files.atomic import write_json
from sdflow_jax.files.run_config import load_config
from sdflow_jax.methods.registry import find_method
from sdflow_jax.study.plan import ROOT, Run, Settings

TIMES_FILE = "core_seconds.json"


class Stopped(RuntimeError):
    """A step failed or was interrupted; the same command continues."""


def is_trained(workdir: pathlib.Path) -> bool:
    """Whether the run has exported its networks."""
    try:
        method = load_config(workdir)["method"]
    except FileNotFoundError:
        return False
    names = find_method(method).exports
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
    judge_files = {role: networks.digest(file) for role, file in run.judge_files.items()}
    return (
        summary.get("settings") == wanted
        and summary.get("split") == settings.split
        and summary.get("judge_files") == judge_files
    )


def carry_out(
    runs: Sequence[Run], settings: Settings, directory: pathlib.Path, *, jobs: int = 1
) -> None:
    """Train and evaluate whatever is not yet trained and evaluated.

    Args:
      runs: in the order in which they are begun.
      settings: how much is computed.
      directory: of all runs.
      jobs: runs at a time. The processor cores are dealt out among them: two processes of one core
        each are done sooner than two of both, one after the other.

    Raises:
      Stopped: if a step failed, or ended before it was done, as after Ctrl-C. Runs that are under
        way beside it then come to their end, and no other begins.
    """
    titles = {
        run.workdir: f"[{number}/{len(runs)}] {run.method}, seed {run.seed}"
        for number, run in enumerate(runs, 1)
    }
    # The first training builds the data set that all share.
    is_alone = jobs > 1 and not is_trained(runs[0].workdir)
    if is_alone:
        _carry_out_run(runs[0], titles[runs[0].workdir], settings, directory, _own_cores())
    free: queue.SimpleQueue[Set[int]] = queue.SimpleQueue()
    for cores in _dealt(_own_cores(), jobs):
        free.put(cores)
    has_failed = threading.Event()

    def work(run: Run) -> None:
        if has_failed.is_set():
            return
        cores = free.get()
        try:
            _carry_out_run(run, titles[run.workdir], settings, directory, cores)
        except Stopped:
            has_failed.set()
            raise
        finally:
            free.put(cores)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            for _ in pool.map(work, runs[is_alone:]):
                pass
        except BaseException:  # Ctrl-C too, which the processes under way have got as well.
            has_failed.set()
            raise


def _carry_out_run(
    run: Run, title: str, settings: Settings, directory: pathlib.Path, cores: Set[int]
) -> None:
    if not is_trained(run.workdir):
        print(f"{title}: training", flush=True)
        flags = [f"--config.{key}={value}" for key, value in run.overrides.items()]
        _call(
            directory,
            f"train {run.workdir.name}",
            cores,
            *("train.py", f"--config={run.config_flag}", f"--workdir={run.workdir}", *flags),
        )
        if not is_trained(run.workdir):
            raise Stopped(f"{title}: training stopped; the same command continues")
    for judge in run.judges:
        if is_evaluated(run, judge, settings):
            continue
        print(f"{title}: evaluating, judges {judge}", flush=True)
        _call(
            directory,
            f"evaluate {run.workdir.name} {judge}",
            cores,
            *("evaluate.py", f"--workdir={run.workdir}", f"--judge={judge}"),
            *(f"--split={settings.split}", f"--num_faces={settings.faces_for(judge)}"),
            f"--strengths={','.join(f'{x:g}' for x in settings.strengths)}",
            f"--batch_size={settings.batch_size}",
            f"--num_samples={settings.num_samples}",
            *(f"--network={role}={file}" for role, file in run.judge_files.items()),
        )


def _own_cores() -> Set[int]:
    """The processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))  # macOS deals out none


def _dealt(cores: Set[int], jobs: int) -> list[Set[int]]:
    """The cores in `jobs` groups; where there are fewer cores than jobs, groups share them."""
    ordered = sorted(cores)
    return [set(ordered[i::jobs]) or {ordered[i % len(ordered)]} for i in range(jobs)]


def core_seconds_spent(directory: pathlib.Path, runs: Sequence[Run]) -> dict[str, float]:
    """Wall time times cores of each step of these runs so far, interrupted attempts included."""
    steps = {f"train {run.workdir.name}" for run in runs}
    steps |= {f"evaluate {run.workdir.name} {judge}" for run in runs for judge in run.judges}
    return {step: seconds for step, seconds in _read_times(directory).items() if step in steps}


def _read_times(directory: pathlib.Path) -> dict[str, float]:
    file = directory / TIMES_FILE
    return json.loads(file.read_text()) if file.exists() else {}


_times_lock = threading.Lock()


def _call(
    directory: pathlib.Path, step: str, cores: Set[int], script: str, *arguments: str
) -> None:
    # A process each: its memory is given back, and an interrupt is train.py's own to handle. The
    # seeds of a method compile the same programs, which the cache keeps.
    environment = {"JAX_COMPILATION_CACHE_DIR": str(directory / "compiled"), **os.environ}
    start = time.monotonic()
    try:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / script), *arguments], env=environment
        )
        if hasattr(os, "sched_setaffinity"):  # Before its first thread, which inherits it.
            os.sched_setaffinity(process.pid, cores)
        code = process.wait()
    finally:
        with _times_lock:
            spent = _read_times(directory)
            passed = (time.monotonic() - start) * len(cores)
            spent[step] = round(spent.get(step, 0.0) + passed, 1)
            write_json(directory / TIMES_FILE, spent)
    if code != 0:
        raise Stopped(f"{script} ended with status {code} ({step}); the same command continues")
