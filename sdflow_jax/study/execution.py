"""Training and evaluating the runs of a study, each step done once however often it is interrupted."""

import concurrent.futures
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from sdflow_jax.evaluation import EvaluationSettings, results_directory
from sdflow_jax.files import networks
from sdflow_jax.files.atomic import write_json
from sdflow_jax.files.cores import own_cores
from sdflow_jax.methods.registry import trained_networks
from sdflow_jax.study.plan import ROOT, Run, Settings
from sdflow_jax.study.shared_faces import key_of_data, overrides_of_data

# step -> [seconds by the clock, processor cores of the last attempt, sum of seconds times cores]
TIMES_FILE = "times.json"
_FACES = "faces"  # the step that builds the data set


class Stopped(RuntimeError):
    """A step failed or was interrupted; the same command continues."""


class Failed(Stopped):
    """A step ended with a mistake; the message tells what it said last, where there is a log."""


def is_trained(workdir: pathlib.Path) -> bool:
    """Whether the run has exported its networks."""
    return bool(trained_networks(workdir))


def evaluation_settings(settings: Settings, judge: str) -> EvaluationSettings:
    """The settings that `evaluate.py` gets."""
    return EvaluationSettings(
        num_faces=settings.faces_for(judge),
        strengths=settings.strengths,
        batch_size=settings.batch_size,
        num_samples=settings.num_samples,
    )


def results_of(run: Run, judge: str, settings: Settings) -> pathlib.Path:
    """Where `evaluate.py` leaves the results of these settings."""
    return results_directory(run.workdir, judge, "" if settings.split == "test" else settings.split)


def is_evaluated(run: Run, judge: str, settings: Settings) -> bool:
    """Whether the results are there, of these very settings."""
    file = results_of(run, judge, settings) / "summary.json"
    return file.exists() and is_judged(json.loads(file.read_text()), run, judge, settings)


def is_judged(summary: Mapping[str, Any], run: Run, judge: str, settings: Settings) -> bool:
    """Whether an evaluation's summary is of these very settings and judges; how many faces a compiled call took
    changes no more than the last digits, and may differ.
    """
    wanted = dataclasses.asdict(evaluation_settings(settings, judge))
    wanted["strengths"] = list(wanted["strengths"])
    del wanted["batch_size"]
    found = {key: x for key, x in summary.get("settings", {}).items() if key != "batch_size"}
    judge_files = {role: networks.digest(file) for role, file in run.judge_files.items()}
    return (
        found == wanted
        and (summary.get("pairs", False) or not settings.pairs)
        and summary.get("split") == settings.split
        and summary.get("judge_files") == judge_files
    )


def is_done(run: Run, settings: Settings) -> bool:
    """Whether a run is trained, and evaluated by all its judges."""
    return is_trained(run.workdir) and all(
        is_evaluated(run, judge, settings) for judge in run.judges
    )


def carry_out(
    runs: Sequence[Run],
    settings: Settings,
    directory: pathlib.Path,
    *,
    jobs: int = 1,
    deadline: float = math.inf,
    has_logs: bool = False,
    names: Mapping[pathlib.Path, str] | None = None,
    done: Callable[[Run], None] | None = None,
    failed: Callable[[Run, Stopped], None] | None = None,
) -> bool:
    """Train and evaluate whatever is not yet trained and evaluated.

    The data set that the runs share is built before, in a step of its own.

    Args:
      runs: in the order in which they are begun.
      settings: how much is computed.
      directory: of all runs.
      jobs: runs at a time. The processor cores are dealt out among them: two processes of one core
        each are done sooner than two of both, one after the other.
      deadline: `time.monotonic()` from which on no further step begins.
      has_logs: whether the steps write to `directory/logs` what they would say on the terminal.
      names: working directory -> what the run is called on the terminal; method and seed by default.
      done: called with each run that is done, one at a time.
      failed: called with each run of which a step failed, one at a time, and the others go on.

    Returns:
      Whether all runs are done.

    Raises:
      Stopped: if a step failed and `failed` is None, or ended before it was done, as after Ctrl-C.
        Runs that are under way beside it then come to their end, and no other begins.
    """
    titles = {
        run.workdir: f"[{number}/{len(runs)}] "
        + (names or {}).get(run.workdir, f"{run.method}, seed {run.seed}")
        for number, run in enumerate(runs, 1)
    }
    free: queue.SimpleQueue[Set[int]] = queue.SimpleQueue()
    for cores in _dealt(own_cores(), jobs):
        free.put(cores)
    has_stopped = threading.Event()
    telling = threading.Lock()

    def work(run: Run, cores: Set[int]) -> bool:
        if has_stopped.is_set():
            return False
        try:
            is_done = _carry_out_run(
                run, titles[run.workdir], settings, directory, cores, deadline, has_logs
            )
        except Stopped as error:
            if failed is None or not isinstance(error, Failed):
                has_stopped.set()
                raise
            with telling:
                failed(run, error)
            return False
        if is_done and done is not None:
            with telling:
                done(run)
        return is_done

    def work_on_free_cores(run: Run) -> bool:
        cores = free.get()
        try:
            return work(run, cores)
        finally:
            free.put(cores)

    have_no_faces = _build_faces(runs, directory, deadline, has_logs, failed)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            able = [run for run in runs if run.workdir not in have_no_faces]
            are_done = list(pool.map(work_on_free_cores, able))
        except BaseException:  # Ctrl-C too, which the processes under way have got as well.
            has_stopped.set()
            raise
    return all(are_done) and not have_no_faces


def _build_faces(
    runs: Sequence[Run],
    directory: pathlib.Path,
    deadline: float,
    has_log: bool,
    failed: Callable[[Run, Stopped], None] | None,
) -> set[pathlib.Path]:
    """Build the data sets of the runs that are to be trained: several trainings at a time would be in each
    other's way, and the time of the first would be more than a training's.

    Returns:
      The working directories of the runs whose data set could not be built; `failed` is told of them.

    Raises:
      Stopped: as `carry_out`.
    """
    sharing: dict[str, list[Run]] = {}
    for run in runs:
        if not is_trained(run.workdir):
            sharing.setdefault(key_of_data(run), []).append(run)
    missing = set()
    for first, *others in sharing.values():
        if time.monotonic() >= deadline:
            break
        print("the faces that the runs share: building them, or finding them built", flush=True)
        try:
            _call(
                *(directory, _FACES, own_cores(), "sdflow_jax.study.shared_faces"),
                *(first.config_flag, json.dumps(overrides_of_data(first))),
                has_log=has_log,
            )
        except Failed as error:
            if failed is None:
                raise
            for run in (first, *others):
                failed(run, error)
                missing.add(run.workdir)
    return missing


def _carry_out_run(
    run: Run,
    title: str,
    settings: Settings,
    directory: pathlib.Path,
    cores: Set[int],
    deadline: float,
    has_logs: bool,
) -> bool:
    """Train and evaluate one run; false if the deadline came first."""
    if not _train(run, title, directory, cores, deadline, has_logs):
        return False
    for judge in run.judges:
        if is_evaluated(run, judge, settings):
            continue
        if time.monotonic() >= deadline:
            return False
        print(f"{title}: evaluating, judges {judge}", flush=True)
        _call(
            directory,
            _evaluation_step(run, judge, settings.split),
            cores,
            *("evaluate.py", f"--workdir={run.workdir}", f"--judge={judge}"),
            *(f"--split={settings.split}", f"--num_faces={settings.faces_for(judge)}"),
            f"--strengths={','.join(f'{x:g}' for x in settings.strengths)}",
            f"--batch_size={settings.batch_size}",
            f"--num_samples={settings.num_samples}",
            f"--pairs={settings.pairs}",
            *(f"--network={role}={file}" for role, file in run.judge_files.items()),
            has_log=has_logs,
        )
    return True


def _train(
    run: Run,
    title: str,
    directory: pathlib.Path,
    cores: Set[int],
    deadline: float,
    has_log: bool,
) -> bool:
    """Train one run, unless that is done; false if the deadline came first."""
    if is_trained(run.workdir):
        return True
    if time.monotonic() >= deadline:
        return False
    print(f"{title}: training", flush=True)
    flags = [f"--config.{key}={value}" for key, value in run.overrides.items()]
    _call(
        directory,
        f"train {run.workdir.name}",
        cores,
        *("train.py", f"--config={run.config_flag}", f"--workdir={run.workdir}", *flags),
        has_log=has_log,
    )
    if not is_trained(run.workdir):
        raise Stopped(f"{title}: training stopped; the same command continues")
    return True


def _dealt(cores: Set[int], jobs: int) -> list[Set[int]]:
    """The cores in `jobs` groups; where there are fewer cores than jobs, groups share them."""
    ordered = sorted(cores)
    return [set(ordered[i::jobs]) or {ordered[i % len(ordered)]} for i in range(jobs)]


def _evaluation_step(run: Run, judge: str, split: str) -> str:
    of_split = "" if split == "test" else f" {split}"
    return f"evaluate {run.workdir.name} {judge}{of_split}"


def _steps_of(run: Run, split: str) -> list[str]:
    """Those of training a run and evaluating it on a split, as they stand among the times."""
    evaluations = [_evaluation_step(run, judge, split) for judge in run.judges]
    return [f"train {run.workdir.name}", *evaluations]


def core_seconds_spent(
    directory: pathlib.Path, runs: Sequence[Run], split: str = "test"
) -> dict[str, float]:
    """Seconds times cores of each step of these runs so far, interrupted attempts included, and of
    building the faces that they share.

    Args:
      directory: of all runs.
      runs: that count.
      split: on whose faces they were evaluated.
    """
    steps = {step for run in runs for step in steps_behind(run, split)}
    times = _read_times(directory)
    return {step: spent.core_seconds for step, spent in times.items() if step in steps}


def steps_behind(run: Run, split: str) -> list[str]:
    """The steps of a run, and that of the faces which it shares with others."""
    return [_FACES, *_steps_of(run, split)]


def seconds_spent(directory: pathlib.Path, run: Run, split: str = "test") -> float | None:
    """Seconds by the clock that training a run and evaluating it took, interrupted attempts included;
    None if it was done elsewhere.

    Args:
      directory: of all runs.
      run: the run.
      split: on whose faces it was evaluated.
    """
    times = _read_times(directory)
    found = [times[step].seconds for step in _steps_of(run, split) if step in times]
    return sum(found) if found else None


def training_seconds(directory: pathlib.Path, run: Run) -> float | None:
    """Seconds by the clock that training a run took, without building the faces that it shares with others; None
    if it was trained elsewhere.
    """
    spent = _read_times(directory).get(f"train {run.workdir.name}")
    return spent and spent.seconds


class _Spent(NamedTuple):
    """On a step so far, as in `TIMES_FILE`."""

    seconds: float
    cores: int
    core_seconds: float


def _read_times(directory: pathlib.Path) -> dict[str, _Spent]:
    file = directory / TIMES_FILE
    if not file.exists():
        return {}
    return {step: _Spent(*spent) for step, spent in json.loads(file.read_text()).items()}


_times_lock = threading.Lock()


def _call(
    directory: pathlib.Path,
    step: str,
    cores: Set[int],
    program: str,
    *arguments: str,
    has_log: bool = False,
) -> None:
    """Run a program in a process of its own: a script beside the package, or the name of a module.

    Raises:
      Failed: if its status is not 0.
    """
    # A process each: its memory is given back, and an interrupt is train.py's own to handle. The
    # seeds of a method compile the same programs, which the cache keeps.
    environment = {"JAX_COMPILATION_CACHE_DIR": str(directory / "compiled"), **os.environ}
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]  # of the package, for a module
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    which = [str(ROOT / program)] if program.endswith(".py") else ["-m", program]
    log = directory / "logs" / f"{step}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    try:
        with log.open("w") if has_log else contextlib.nullcontext() as stream:
            process = subprocess.Popen(
                [sys.executable, *which, *arguments],
                env=environment,
                stdout=stream,
                stderr=stream,
            )
            if hasattr(os, "sched_setaffinity"):  # Before its first thread, which inherits it.
                os.sched_setaffinity(process.pid, cores)
            code = process.wait()
    finally:
        with _times_lock:
            spent = _read_times(directory)
            earlier, seconds = spent.get(step, _Spent(0.0, 0, 0.0)), time.monotonic() - start
            spent[step] = _Spent(
                round(earlier.seconds + seconds, 1),
                len(cores),
                round(earlier.core_seconds + seconds * len(cores), 1),
            )
            write_json(directory / TIMES_FILE, spent)
    if code != 0:
        said = log.read_text().splitlines()[-1:] if has_log else []
        reason = said[0] if said else f"status {code}"
        raise Failed(f"{program} ended with {reason} ({step}); the same command continues")
