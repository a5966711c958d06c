"""Every picture of the results: curves from records, faces from the networks of each method's first seed."""

import dataclasses
import pathlib
import re
from collections.abc import Collection, Mapping, Sequence

from PIL import Image

from sdflow_jax.evaluation import requests_for
from sdflow_jax.evaluation.drawing import Figure
from sdflow_jax.evaluation.opened_run import open_run
from sdflow_jax.evaluation.plots import semantic_variables_figure
from sdflow_jax.evaluation.requests import without_pairs
from sdflow_jax.files.atomic import write_atomic
from sdflow_jax.files.run_config import load_config
from sdflow_jax.methods.registry import load_method
from sdflow_jax.methods.settings import read_shared_settings
from sdflow_jax.study.areas import LEVELS
from sdflow_jax.study.curves import colors_of, curves_figure
from sdflow_jax.study.execution import is_done, results_of
from sdflow_jax.study.faces import faces_figures
from sdflow_jax.study.measured import Measured, requests_of, strangers_of
from sdflow_jax.study.page import resampled_over
from sdflow_jax.study.plan import Run, Settings, Study
from sdflow_jax.study.records import Record

DOTS_PER_INCH = {"png": 110, "jpg": 205}  # at which a face has 256 pixels
JPEG_QUALITY = 90
# As `curve_figures`, `_face_figures` and `_copy_samples` name them.
_CURVES = re.compile(r"(figure2_semantic_variables|figure4_methods(_.+)?|figure5_ablation)\.png")
_FACES = re.compile(r"(figure[36]_.+|samples_(shared|independent)_.+)\.jpg")


def write_pictures(
    study: Study,
    settings: Settings,
    runs: Mapping[str, Sequence[Run]],
    records: Mapping[str, Sequence[Record]],
    measured: Measured,
    results: pathlib.Path,
) -> list[str]:
    """Write all pictures, and remove those of an earlier page.

    Pictures of faces need the networks of each method's first seed. Where these were trained elsewhere, and
    only their records are here, the pictures that were drawn there stay; they say of which runs they are.

    Args:
      study: what is compared.
      settings: how much was computed.
      runs: method -> its run of each seed.
      records: method -> its record of each seed.
      measured: what was found.
      results: the directory.

    Returns:
      The names of the files, in the order of a page.
    """
    figures = _curve_figures(study, settings, records, measured)
    has_networks = all(is_done(of_method[0], settings) for of_method in runs.values())
    if has_networks:
        outcomes = {name: of[0].outcomes[settings.judges[0]] for name, of in records.items()}
        figures |= _face_figures(study, settings, runs, outcomes)
    pictures = []
    # In the files of faces: whose they are.
    drawn = " ".join(of_method[0].workdir.name for of_method in runs.values())
    for name, figure in figures.items():
        # Faces as JPEG, at a fifth of the size; lines as PNG.
        kind = "jpg" if figure.axes[0].images else "png"
        pictures.append(f"{name}.{kind}")
        told = {"quality": JPEG_QUALITY, "comment": drawn}
        options = {"pil_kwargs": told} if kind == "jpg" else {}
        write_atomic(
            results / pictures[-1],
            lambda stream, figure=figure, kind=kind, options=options: figure.savefig(
                stream, format=kind, dpi=DOTS_PER_INCH[kind], **options
            ),
        )
    if has_networks:
        pictures += _copy_samples(study, settings, runs, results, drawn)
    else:
        pictures += [
            file.name
            for file in results.iterdir()
            if _FACES.fullmatch(file.name) and _drawn_of(file) == drawn
        ]
    remove_earlier(results, pictures)
    return sorted(pictures)


def _drawn_of(file: pathlib.Path) -> str:
    """The runs whose faces a picture shows."""
    with Image.open(file) as image:
        return image.info.get("comment", b"").decode(errors="replace")


def remove_earlier(results: pathlib.Path, pictures: Collection[str]) -> None:
    """Remove the pictures of an earlier page, by the names that pages give; whatever else lies there stays.

    Args:
      results: the directory.
      pictures: names of the files that the present page shows.
    """
    for file in results.iterdir():
        ours = _CURVES.fullmatch(file.name) or _FACES.fullmatch(file.name)
        if ours and file.name not in pictures:
            file.unlink()


def _curve_figures(
    study: Study,
    settings: Settings,
    records: Mapping[str, Sequence[Record]],
    measured: Measured,
) -> dict[str, Figure]:
    main = settings.judges[0]
    first = records[study.ours][0]
    variables, predictions = (first.faces[key] for key in ("variables", "predictions"))
    figures = {
        "figure2_semantic_variables": semantic_variables_figure(
            variables, predictions, first.attributes, reader=first.reader
        )
    }
    others = [name for name in {**study.methods, **study.ablation} if name != study.ours]
    colors = colors_of([*others, study.ours])  # the same for a method in every figure
    for judge in settings.judges:
        suffix = "" if judge == main else f"_{judge}"
        figures[f"figure4_methods{suffix}"] = _curves(
            study.methods, measured, settings, judge, colors
        )
    if study.ablation:
        figures["figure5_ablation"] = _curves(study.ablation, measured, settings, main, colors)
    return figures


def _curves(
    titles: Mapping[str, str],
    measured: Measured,
    settings: Settings,
    judge: str,
    colors: Mapping[str, str],
) -> Figure:
    areas, strangers = measured.areas[judge], strangers_of(measured.summaries, judge)
    marked = "" if strangers is None else " Dashed: two different faces."
    return curves_figure(
        areas,
        titles,
        without_pairs(requests_of(areas)),
        caption=(
            f"{settings.faces_for(judge)} {settings.split} faces at most, judges: {judge}. Lines:"
            f" {_lines_in_words(settings.seeds_for(judge))} (dot).\n"
            f"Bands: 95% intervals over {resampled_over(settings.seeds_for(judge))}. Upper right is"
            f" better.{marked}"
        ),
        colors=colors,
        strangers=strangers,
    )


def _lines_in_words(seeds: int) -> str:
    end = f"to an accuracy of {LEVELS[-1]:.0%}, or to where"
    if seeds == 1:
        return f"one training, {end} it reaches"
    return f"mean over {seeds} trainings, {end} every one reaches"


def _face_figures(
    study: Study,
    settings: Settings,
    runs: Mapping[str, Sequence[Run]],
    outcomes: Mapping[str, Mapping],
) -> dict[str, Figure]:
    """The first faces under every method, with the networks of the config as judges."""
    first = runs[study.ours][0]
    run = read_shared_settings(load_config(first.workdir))
    run = dataclasses.replace(run, networks={**run.networks, **first.judge_files})
    opened = open_run(run, first.workdir, settings.split)
    shown = without_pairs(list(outcomes[study.ours]))
    requests = [request for request in requests_for(run.attributes) if request.name in shown]
    figures = {}
    # Variants of the ablation look alike in single edits.
    joint = [request for request in requests if "+" in request.name]
    shown_of = [("figure3", study.methods, requests)]
    if study.ablation:
        shown_of.append(("figure6", study.ablation, joint or requests))
    for prefix, titles, requested in shown_of:
        found = faces_figures(
            opened.setup,
            {name: load_method(runs[name][0].workdir) for name in titles},
            titles,
            opened.faces,
            requested,
            outcomes,
            num_shown=settings.num_shown,
            prediction_columns=opened.columns_of(run.attributes),
            has_originals=run.data.has_originals,
        )
        for request, figure in found.items():
            figures[f"{prefix}_{'all' if '+' in request else request}"] = figure
    return figures


def _copy_samples(
    study: Study,
    settings: Settings,
    runs: Mapping[str, Sequence[Run]],
    results: pathlib.Path,
    drawn: str,
) -> list[str]:
    """The pictures of sampled faces of every flow's first seed, among the methods compared, half
    as large.
    """
    copied = []
    for name in study.methods:
        directory = results_of(runs[name][0], settings.judges[0], settings)
        for file in sorted(directory.glob("samples_*.png")):
            copied.append(f"{file.stem}_{name}.jpg")
            with Image.open(file) as image:
                smaller = image.convert("RGB").reduce(2)
            write_atomic(
                results / copied[-1],
                lambda stream, smaller=smaller: smaller.save(
                    stream, format="jpeg", quality=JPEG_QUALITY, comment=drawn
                ),
            )
    return copied
