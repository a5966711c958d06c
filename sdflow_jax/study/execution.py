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

from sdflow_jax.evaluation import EvaluationSettings, results_directory
from sdflow_jax.files import networks
from sdflow_jax.files.atomic import write_json
from sdflow_jax.files.cores import own_cores
from sdflow_jax.files.run_config import load_config
from sdflow_jax.methods.registry import find_method
from sdflow_jax.study.plan import ROOT, Run, Settings

TIMES_FILE = "times.json"  # step -> [seconds by the clock, processor cores]


class Stopped(RuntimeError):
    """A step failed or was interrupted; the same command continues."""


class Failed(Stopped):
    """A step ended with a mistake; the message tells what it said last, where there is a log."""


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


def results_of(run: Run, judge: str, settings: Settings) -> pathlib.Path:
    """Where `evaluate.py` leaves the results of these settings."""
    return results_directory(run.workdir, judge, "" if settings.split == "test" else settings.split)


def is_evaluated(run: Run, judge: str, settings: Settings) -> bool:
    """Whether the results are there, of these very settings."""
    file = results_of(run, judge, settings) / "summary.json"
    if not file.exists():
        return False
    summary = json.loads(file.read_text())
    wanted = dataclasses.asdict(evaluation_settings(settings, judge))
    wanted["strengths"] = list(wanted["strengths"])
    judge_files = {role: networks.digest(file) for role, file in run.judge_files.items()}
    return (
        summary.get("settings") == wanted
        and (summary.get("pairs", False) or not settings.pairs)
        and summary.get("split") == settings.split
        and summary.get("judge_files") == judge_files
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

    if jobs > 1:
        # The first training, alone, builds the data set that all share. What fails fails again below.
        with contextlib.suppress(Failed):
            _train(runs[0], titles[runs[0].workdir], directory, own_cores(), deadline, has_logs)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            are_done = list(pool.map(work_on_free_cores, runs))
        except BaseException:  # Ctrl-C too, which the processes under way have got as well.
            has_stopped.set()
            raise
    return all(are_done)


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
            f"evaluate {run.workdir.name} {judge}",
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


def core_seconds_spent(directory: pathlib.Path, runs: Sequence[Run]) -> dict[str, float]:
    """Seconds times cores of each step of these runs so far, interrupted attempts included."""
    steps = {f"train {run.workdir.name}" for run in runs}
    steps |= {f"evaluate {run.workdir.name} {judge}" for run in runs for judge in run.judges}
    times = _read_times(directory)
    return {step: seconds * cores for step, (seconds, cores) in times.items() if step in steps}


def seconds_spent(directory: pathlib.Path, run: Run) -> float | None:
    """Seconds by the clock that training a run and evaluating it took, interrupted attempts included;
    None if it was done elsewhere.
    """
    times = _read_times(directory)
    name = run.workdir.name
    steps = [f"train {name}", *(f"evaluate {name} {judge}" for judge in run.judges)]
    found = [times[step][0] for step in steps if step in times]
    return sum(found) if found else None


def training_seconds(directory: pathlib.Path, runs: Sequence[Run]) -> float | None:
    """Mean seconds by the clock that training these runs took; None if they were trained elsewhere."""
    times = _read_times(directory)
    found = [times[step][0] for run in runs if (step := f"train {run.workdir.name}") in times]
    return sum(found) / len(found) if found else None


def _read_times(directory: pathlib.Path) -> dict[str, list[float]]:
    file = directory / TIMES_FILE
    return json.loads(file.read_text()) if file.exists() else {}


_times_lock = threading.Lock()


def _call(
    directory: pathlib.Path,
    step: str,
    cores: Set[int],
    script: str,
    *arguments: str,
    has_log: bool = False,
) -> None:
    # A process each: its memory is given back, and an interrupt is train.py's own to handle. The
    # seeds of a method compile the same programs, which the cache keeps.
    environment = {"JAX_COMPILATION_CACHE_DIR": str(directory / "compiled"), **os.environ}
    log = directory / "logs" / f"{step}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    try:
        with log.open("w") if has_log else contextlib.nullcontext() as stream:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / script), *arguments],
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
            earlier, _ = spent.get(step, (0.0, 0))
            spent[step] = [round(earlier + time.monotonic() - start, 1), len(cores)]
            write_json(directory / TIMES_FILE, spent)
    if code != 0:
        said = log.read_text().splitlines()[-1:] if has_log else []
        reason = said[0] if said else f"status {code}"
        raise Failed(f"{script} ended with {reason} ({step}); the same command continues")
