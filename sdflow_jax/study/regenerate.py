"""From a study to its directory of results."""

import csv
import dataclasses
import io
import math
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.evaluation.report import points_csv
from sdflow_jax.files.atomic import write_atomic, write_text
from sdflow_jax.images.precision import in_float32
from sdflow_jax.study import records as recorded
from sdflow_jax.study.areas import Estimate, Resampled, estimate, resample_all
from sdflow_jax.study.entanglement import Entanglement, correlations_of, entanglement, slopes_of
from sdflow_jax.study.execution import carry_out, is_done
from sdflow_jax.study.independence import CODES, NUM_RESAMPLES, tell_apart
from sdflow_jax.study.measured import Cost, Measured
from sdflow_jax.study.page import results_page, tables_page
from sdflow_jax.study.pictures import write_pictures
from sdflow_jax.study.plan import FIRST_SEED, Run, Settings, Study, plan_runs
from sdflow_jax.study.probes import PROBES
from sdflow_jax.study.records import Record, read_record, record_file, write_record


@in_float32
def regenerate(
    study: Study,
    settings: Settings,
    runs_directory: pathlib.Path,
    results: pathlib.Path,
    *,
    jobs: int = 1,
    deadline: float = math.inf,
    is_anew: bool = False,
) -> bool:
    """Train and evaluate what is missing, then write figures, tables and the pages.

    A run that is done leaves a record among the results, from which everything but the pictures of faces is made.

    Args:
      study: what is compared.
      settings: how much is computed.
      runs_directory: of the trainings, which a later call continues and reuses.
      results: gets the pictures, `points.csv`, `areas.csv`, `tables.md`, `README.md` and the folder `records`. A
        `reading.md` that lies there becomes a section of the page.
      jobs: trainings and evaluations at a time.
      deadline: `time.monotonic()` from which on no training and no evaluation begins.
      is_anew: whether runs of which only the record is there are trained and evaluated again.

    Returns:
      Whether everything is done; false if the deadline came first, and nothing but records is written.

    Raises:
      Stopped: if a training or an evaluation ended before it was done.
    """
    runs = plan_runs(study, settings, runs_directory)
    missing = [
        run
        for run in runs
        if is_anew or read_record(record_file(results, run), run, settings) is None
    ]
    are_done = carry_out(missing, settings, runs_directory, jobs=jobs, deadline=deadline)
    for run in missing:
        if is_done(run, settings):
            _record(run, settings, runs_directory, results)
    if not are_done:
        return False

    records = {name: [] for name in study.configs}
    for run in runs:
        records[run.method].append(read_record(record_file(results, run), run, settings))
    recorded.require_one_renderer(records)
    recorded.require_same_faces(records)
    settings = _with_faces_found(settings, records)
    outcomes = {
        judge: {
            name: [record.outcomes[judge] for record in of_method if judge in record.outcomes]
            for name, of_method in records.items()
            if judge in of_method[0].outcomes
        }
        for judge in settings.judges
    }
    areas = {
        judge: resample_all(of_judge, num_resamples=settings.num_resamples)
        for judge, of_judge in outcomes.items()
    }
    summaries = {
        (name, judge): [x.summaries[judge] for x in of_method if judge in x.summaries]
        for name, of_method in records.items()
        for judge in of_method[0].summaries
    }
    main = settings.judges[0]
    measured = Measured(
        areas,
        summaries,
        *_entanglement(records, outcomes[main], settings),
        _independence(study, records),
        max(
            (len(x.probes["labels"]) for of in records.values() for x in of if x.probes), default=0
        ),
        {name: _cost(of_method) for name, of_method in records.items()},
        {
            step: seconds
            for of_method in records.values()
            for record in of_method
            for step, seconds in record.core_seconds.items()
        },
        sum(x.training_seconds is None for of_method in records.values() for x in of_method),
    )
    by_method = {name: [run for run in runs if run.method == name] for name in study.configs}
    pictures = write_pictures(study, settings, by_method, records, measured, results)
    write_text(results / "points.csv", _points(records))
    write_text(results / "areas.csv", _areas_csv(areas, settings))
    reading = results / "reading.md"
    attributes = records[study.ours][0].attributes
    words = reading.read_text() if reading.exists() else ""
    page = results_page(study, settings, measured, pictures, words)
    write_text(results / "tables.md", tables_page(study, settings, measured, pictures, attributes))
    write_text(results / "README.md", page)
    return True


def _record(
    run: Run, settings: Settings, runs_directory: pathlib.Path, results: pathlib.Path
) -> None:
    """Record a run that is done, once for its evaluations, and put the record among the results."""
    file = run.workdir / recorded.FILE
    record = read_record(file, run, settings)
    if record is None or record.summaries != recorded.read_summaries(run, settings):
        print(f"{run.method}, seed {run.seed}: probes and the time of an edit", flush=True)
        write_record(run, settings, runs_directory)
    copied = record_file(results, run)
    with file.open("rb") as stream:
        write_atomic(copied, lambda target: shutil.copyfileobj(stream, target))


def _with_faces_found(settings: Settings, records: Mapping[str, Sequence[Record]]) -> Settings:
    """The settings with the numbers of faces that there were: a split may have fewer than were asked for."""
    found: dict[str, int] = {}
    for of_method in records.values():
        for judge, summary in of_method[0].summaries.items():
            found[judge] = summary["num_faces"]
    return dataclasses.replace(
        settings,
        num_faces=max(found.values()),
        num_faces_external=found.get("external", settings.num_faces_external),
    )


def _entanglement(
    records: Mapping[str, Sequence[Record]],
    outcomes: Mapping[str, Sequence[Mapping[str, EditOutcomes]]],
    settings: Settings,
) -> tuple[dict[str, Entanglement], Float[np.ndarray, "e j"]]:
    """What every method's edits drag along by the first judges, and the correlations in the data."""
    outcomes = _found_everywhere(outcomes)
    method = next(iter(records))
    first = records[method][0]
    judged = first.summaries[settings.judges[0]]["judged_attributes"]
    readings = first.faces["readings"]
    readings = readings[np.isfinite(readings).all(1)]
    edited = [name for name in outcomes[method][0] if name in judged]
    correlation = correlations_of(readings, judged, edited)
    if not all(outcome.num_faces for outcome in outcomes[method][0].values()):
        return {}, correlation
    slopes = slopes_of(readings, judged, edited)
    found = entanglement(outcomes, judged, slopes, num_resamples=settings.num_resamples)
    return found, correlation


def _found_everywhere(
    outcomes: Mapping[str, Sequence[Mapping[str, EditOutcomes]]],
) -> dict[str, list[dict[str, EditOutcomes]]]:
    """The outcomes without the faces that the judges no longer find after an edit by one of the methods:
    nobody knows how far their readings moved.
    """
    everything = [seed for seeds in outcomes.values() for seed in seeds]
    is_found = {
        name: np.all([_is_found(seed[name]) for seed in everything], axis=0)
        for name in everything[0]
    }
    return {
        method: [{name: x.of_faces(is_found[name]) for name, x in seed.items()} for seed in seeds]
        for method, seeds in outcomes.items()
    }


def _is_found(outcome: EditOutcomes) -> Bool[np.ndarray, " f"]:
    if outcome.readings is None:
        return np.ones(outcome.num_faces, bool)
    return np.isfinite(outcome.readings).all((1, 2))


def _independence(
    study: Study, records: Mapping[str, Sequence[Record]]
) -> dict[tuple[str, str, str], Mapping[str, Sequence[Estimate | None]]]:
    """What probes tell of s from z, for every flow."""
    found = {}
    for stream, method in enumerate(study.titles):
        probes = [record.probes for record in records[method]]
        if None in probes:  # no flow
            continue
        for code in CODES:
            for probe in PROBES:
                found[method, code, probe] = tell_apart(
                    probes, code, probe, num_resamples=NUM_RESAMPLES, stream=stream
                )
    return found


def _cost(records: Sequence[Record]) -> Cost:
    """Of an edit, the least over the seeds that were timed on the device of the first: what else a machine does only
    adds. Of training, the first seed's: not all methods have others.
    """
    device = records[0].device
    timed = [record for record in records if record.device == device]
    trained = [x.training_seconds for x in timed if x.training_seconds is not None]
    return Cost(
        next(iter(trained), None),
        min(record.edit_milliseconds for record in timed),
        device,
    )


def _points(records: Mapping[str, Sequence[Record]]) -> str:
    """Every run's points, with the columns method, seed and judge before their own."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for method, of_method in records.items():
        for seed, record in enumerate(of_method, FIRST_SEED):
            for judge, outcomes in record.outcomes.items():
                head, *rows = csv.reader(io.StringIO(points_csv(outcomes)))
                if not stream.tell():
                    writer.writerow(["method", "seed", "judge", *head])
                writer.writerows([method, seed, judge, *row] for row in rows)
    return stream.getvalue()


def _areas_csv(
    areas: Mapping[str, Mapping[tuple[str, str, str], Resampled]], settings: Settings
) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["judge", "method", "request", "measure", "seeds", "area", "low", "high", "reached"]
    )
    for judge, found in areas.items():
        for key, resampled in found.items():
            area = estimate(resampled.area, resampled.areas, resampled.degrees)
            numbers: list[Any] = [area.value, area.low, area.high, resampled.highest_accuracy]
            writer.writerow(
                [judge, *key, settings.seeds_for(judge), *(f"{x:.6f}" for x in numbers)]
            )
    return stream.getvalue()
