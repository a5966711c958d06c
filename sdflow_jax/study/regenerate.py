"""From a study to its directory of results."""

import csv
import io
import json
import math
import pathlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from sdflow_jax.data import face_latents
from sdflow_jax.data.prepared import prepare_data
from sdflow_jax.evaluation import EvaluationSetup, load_judges, requests_for
from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.evaluation.drawing import Figure
from sdflow_jax.evaluation.plots import semantic_variables_figure
from sdflow_jax.evaluation.report import load_outcomes
from sdflow_jax.evaluation.requests import without_pairs
from sdflow_jax.files.atomic import write_atomic, write_text
from sdflow_jax.files.attribute_names import attribute_columns
from sdflow_jax.files.renderers import find_larger
from sdflow_jax.files.roles import load_role
from sdflow_jax.files.run_config import load_config
from sdflow_jax.images.precision import in_float32
from sdflow_jax.methods.registry import load_method
from sdflow_jax.methods.settings import read_shared_settings
from sdflow_jax.study.areas import Estimate, Resampled, estimate, resample_all
from sdflow_jax.study.cost import milliseconds_per_edit
from sdflow_jax.study.curves import curves_figure
from sdflow_jax.study.entanglement import Entanglement, correlations_of, entanglement, slopes_of
from sdflow_jax.study.execution import (
    carry_out,
    core_seconds_spent,
    results_of,
    training_seconds,
)
from sdflow_jax.study.faces import faces_figures
from sdflow_jax.study.independence import CODES, measure_independence, tell_apart
from sdflow_jax.study.measured import Cost, Measured, requests_of
from sdflow_jax.study.page import resampled_over, results_page, tables_page
from sdflow_jax.study.plan import Run, Settings, Study, plan_runs
from sdflow_jax.study.probes import PROBES

DOTS_PER_INCH = {"png": 110, "jpg": 205}  # at which a face has 256 pixels
JPEG_QUALITY = 90
PROBE_RESAMPLES = 500
_PICTURES = re.compile(  # as `_figures` and `_copy_samples` name them
    r"(figure2_semantic_variables|figure[36]_.+|figure4_methods(_.+)?|figure5_ablation"
    r"|samples_(shared|independent)_.+)\.(png|jpg)"
)


@in_float32
def regenerate(
    study: Study,
    settings: Settings,
    runs_directory: pathlib.Path,
    results: pathlib.Path,
    *,
    jobs: int = 1,
    deadline: float = math.inf,
) -> bool:
    """Train and evaluate what is missing, then write figures, tables and the pages.

    Args:
      study: what is compared.
      settings: how much is computed.
      runs_directory: of the trainings, which a later call continues and reuses.
      results: gets the pictures, `points.csv`, `areas.csv`, `tables.md` and `README.md`. A `reading.md`
        that lies there becomes a section of the page.
      jobs: trainings and evaluations at a time.
      deadline: `time.monotonic()` from which on no training and no evaluation begins.

    Returns:
      Whether everything is done; false if the deadline came first, and nothing is written.

    Raises:
      Stopped: if a training or an evaluation ended before it was done.
    """
    runs = plan_runs(study, settings, runs_directory)
    if not carry_out(runs, settings, runs_directory, jobs=jobs, deadline=deadline):
        return False

    by_method = {name: [run for run in runs if run.method == name] for name in study.configs}
    outcomes = {
        judge: {
            name: [
                load_outcomes(results_of(run, judge, settings) / "outcomes.npz") for run in judged
            ]
            for name, runs_of_method in by_method.items()
            if (judged := [run for run in runs_of_method if judge in run.judges])
        }
        for judge in settings.judges
    }
    areas = {
        judge: resample_all(of_judge, num_resamples=settings.num_resamples)
        for judge, of_judge in outcomes.items()
    }
    summaries = {(run.method, judge): [] for run in runs for judge in settings.judges}
    for run in runs:
        for judge in run.judges:
            file = results_of(run, judge, settings) / "summary.json"
            summaries[run.method, judge].append(json.loads(file.read_text()))

    main = settings.judges[0]
    measured = Measured(
        areas,
        summaries,
        *_entanglement(by_method, outcomes[main], summaries, settings),
        _independence(study, by_method, settings),
        _costs(by_method, runs_directory, settings),
        core_seconds_spent(runs_directory, runs, settings.split),
    )
    pictures = []
    for name, figure in _figures(study, settings, by_method, outcomes, areas).items():
        # Faces as JPEG, at a fifth of the size; lines as PNG.
        kind = "jpg" if figure.axes[0].images else "png"
        pictures.append(f"{name}.{kind}")
        options = {"pil_kwargs": {"quality": JPEG_QUALITY}} if kind == "jpg" else {}
        write_atomic(
            results / pictures[-1],
            lambda stream, figure=figure, kind=kind, options=options: figure.savefig(
                stream, format=kind, dpi=DOTS_PER_INCH[kind], **options
            ),
        )
    pictures += _copy_samples(study, settings, by_method, results)
    write_text(results / "points.csv", _points(runs, settings))
    write_text(results / "areas.csv", _areas_csv(areas, settings))
    reading = results / "reading.md"
    attributes = load_method(runs[0].workdir).attributes
    words = reading.read_text() if reading.exists() else ""
    page = results_page(study, settings, measured, pictures, words)
    write_text(results / "tables.md", tables_page(study, settings, measured, pictures, attributes))
    write_text(results / "README.md", page)
    remove_earlier(results, pictures)
    return True


def remove_earlier(results: pathlib.Path, pictures: Collection[str]) -> None:
    """Remove the pictures of an earlier page, by the names that pages give; whatever else lies there stays.

    Args:
      results: the directory.
      pictures: names of the files that the present page shows.
    """
    for file in results.iterdir():
        if _PICTURES.fullmatch(file.name) and file.name not in pictures:
            file.unlink()


def _entanglement(
    by_method: Mapping[str, Sequence[Run]],
    outcomes: Mapping[str, Sequence[Mapping[str, EditOutcomes]]],
    summaries: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    settings: Settings,
) -> tuple[dict[str, Entanglement], Float[np.ndarray, "e j"]]:
    """What every method's edits drag along by the first judges, and the correlations in the data."""
    main = settings.judges[0]
    outcomes = _found_everywhere(outcomes)
    method = next(iter(by_method))
    judged = summaries[method, main][0]["judged_attributes"]
    with np.load(results_of(by_method[method][0], main, settings) / "faces.npz") as faces:
        readings = faces["readings"]
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
    study: Study, by_method: Mapping[str, Sequence[Run]], settings: Settings
) -> dict[tuple[str, str, str], Mapping[str, Sequence[Estimate | None]]]:
    """What probes tell of s from z, for every flow."""
    found = {}
    for stream, method in enumerate(study.titles):
        files = [
            measure_independence(run.workdir, settings.split, settings.num_faces)
            for run in by_method[method]
        ]
        if None in files:  # no flow
            continue
        for code in CODES:
            for probe in PROBES:
                found[method, code, probe] = tell_apart(
                    files, code, probe, num_resamples=PROBE_RESAMPLES, stream=stream
                )
    return found


def _costs(
    by_method: Mapping[str, Sequence[Run]], runs_directory: pathlib.Path, settings: Settings
) -> dict[str, Cost]:
    return {
        method: Cost(
            training_seconds(runs_directory, runs),
            milliseconds_per_edit(runs[0].workdir, settings.split),
        )
        for method, runs in by_method.items()
    }


def _figures(
    study: Study,
    settings: Settings,
    by_method: Mapping[str, Sequence[Run]],
    outcomes: Mapping[str, Mapping[str, Sequence[Mapping[str, EditOutcomes]]]],
    areas: Mapping[str, Mapping[tuple[str, str, str], Resampled]],
) -> dict[str, Figure]:
    main = settings.judges[0]
    first = by_method[study.ours][0]
    with np.load(results_of(first, main, settings) / "faces.npz") as faces:
        variables, predictions = faces["variables"], faces["predictions"]
    method = load_method(first.workdir)
    figures = {
        "figure2_semantic_variables": semantic_variables_figure(
            variables, predictions, method.attributes, reader=method.reader
        )
    }
    figures |= _faces(study, study.methods, "figure3", settings, by_method, outcomes[main])
    for judge in settings.judges:
        suffix = "" if judge == main else f"_{judge}"
        figures[f"figure4_methods{suffix}"] = _curves(study.methods, areas[judge], settings, judge)
    figures["figure5_ablation"] = _curves(study.ablation, areas[main], settings, main)
    figures |= _faces(study, study.ablation, "figure6", settings, by_method, outcomes[main])
    return figures


def _curves(titles, areas, settings: Settings, judge: str) -> Figure:
    requests = without_pairs(requests_of(areas))
    return curves_figure(
        areas,
        titles,
        requests,
        caption=(
            f"{settings.faces_for(judge)} {settings.split} faces at most, judges: {judge}. Lines: mean over"
            f" {settings.seeds} training seeds, to where every seed reaches (dot).\n"
            f"Bands: 95% intervals over {resampled_over(settings.seeds)}. Upper right is"
            " better."
        ),
    )


def _faces(
    study: Study,
    titles: Mapping[str, str],
    prefix: str,
    settings: Settings,
    by_method: Mapping[str, Sequence[Run]],
    outcomes: Mapping[str, Sequence[Mapping[str, EditOutcomes]]],
) -> dict[str, Figure]:
    """The faces of each method's first seed, under the networks of the config as judges."""
    first = by_method[study.ours][0]
    run = read_shared_settings(load_config(first.workdir))
    dataset = prepare_data(run.data, run.networks, first.workdir)
    recipe = face_latents.read_recipe(dataset)
    generator = load_role(run.networks, "generator")
    setup = EvaluationSetup(
        generator,
        load_judges(
            first.judge_files["evaluation_classifier"],
            first.judge_files["identity_encoder"],
            image_size=recipe["image_size"],
        ),
        find_larger(run.networks["generator"], generator),
    )
    measured = outcomes[study.ours][0]
    pictures = faces_figures(
        setup,
        {name: load_method(by_method[name][0].workdir) for name in titles},
        titles,
        face_latents.open_split(dataset, settings.split),
        [
            request
            for request in requests_for(run.attributes)
            if request.name in without_pairs(list(measured))
        ],
        {name: outcomes[name][0] for name in titles},
        num_shown=settings.num_shown,
        prediction_columns=attribute_columns(recipe["attributes"], run.attributes),
    )
    return {
        f"{prefix}_{'all' if '+' in request else request}": figure
        for request, figure in pictures.items()
    }


def _copy_samples(study, settings, by_method, results: pathlib.Path) -> list[str]:
    """The pictures of sampled faces of every flow's first seed, among the methods compared, half
    as large.
    """
    copied = []
    for name in study.methods:
        directory = results_of(by_method[name][0], settings.judges[0], settings)
        for file in sorted(directory.glob("samples_*.png")):
            copied.append(f"{file.stem}_{name}.jpg")
            with Image.open(file) as image:
                smaller = image.convert("RGB").reduce(2)
            write_atomic(
                results / copied[-1],
                lambda stream, smaller=smaller: smaller.save(
                    stream, format="jpeg", quality=JPEG_QUALITY
                ),
            )
    return copied


def _points(runs: Sequence[Run], settings: Settings) -> str:
    """Every run's points, with the columns method, seed and judge before their own."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for number, run in enumerate(runs):
        for position, judge in enumerate(run.judges):
            with (results_of(run, judge, settings) / "points.csv").open(newline="") as file:
                head, *rows = csv.reader(file)
            if number == position == 0:
                writer.writerow(["method", "seed", "judge", *head])
            writer.writerows([run.method, run.seed, judge, *row] for row in rows)
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
            writer.writerow([judge, *key, settings.seeds, *(f"{x:.6f}" for x in numbers)])
    return stream.getvalue()
