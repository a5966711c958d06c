"""A whole evaluation: observe the faces, sweep every request, write numbers and figures."""

import dataclasses
import math
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from sdflow_jax.evaluation import report, sampling
from sdflow_jax.evaluation.agreement import agreement
from sdflow_jax.evaluation.drawing import Figure
from sdflow_jax.evaluation.evaluation_setup import EvaluationSetup
from sdflow_jax.evaluation.figures_of_edits import requests_figure, sliders_figure
from sdflow_jax.evaluation.judges import Judges
from sdflow_jax.evaluation.plots import preservation_figure, semantic_variables_figure
from sdflow_jax.evaluation.requests import Request, requests_for, without_pairs
from sdflow_jax.evaluation.source_faces import SourceFaces, observe_faces
from sdflow_jax.evaluation.strength_sweep import judge_columns, sweep
from sdflow_jax.evaluation.unfinished import Unfinished, evaluation_key
from sdflow_jax.files.atomic import write_atomic, write_json, write_text
from sdflow_jax.images.precision import in_float32
from sdflow_jax.methods.method import EditingMethod, SamplingMethod

STRENGTHS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """How much is evaluated.

    Attributes:
      num_faces: faces, from the first of the split.
      strengths: rising strengths to try, until the accuracy is high enough or has fallen by a fifth; 0
        shows what the way there and back costs without an edit.
      stop_at: editing accuracy at which the strength rises no further.
      batch_size: faces per compiled call.
      num_shown: faces in the figures of edits.
      num_resamples: of the bootstrap.
      num_samples: new faces for each combination of attributes, from methods that can sample; 0 for
        none.
    """

    num_faces: int = 500
    strengths: tuple[float, ...] = STRENGTHS
    stop_at: float = 0.99
    batch_size: int = 32
    num_shown: int = 8
    num_resamples: int = 500
    num_samples: int = 32

    def __post_init__(self):
        strengths = tuple(self.strengths)
        object.__setattr__(self, "strengths", strengths)
        does_rise = list(strengths) == sorted(set(strengths))
        if not strengths or not all(0 <= x < math.inf for x in strengths) or not does_rise:
            raise ValueError(f"strengths must rise, finite and not negative, got {strengths}")
        for name in ("num_faces", "batch_size", "num_shown", "num_resamples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_samples < 0 or self.num_samples == 1:
            raise ValueError(f"num_samples must be 0 or at least 2, got {self.num_samples}")


def results_directory(workdir: str | os.PathLike[str], judge: str, faces: str = "") -> pathlib.Path:
    """Where the results of one set of judges lie.

    Args:
      workdir: of the run.
      judge: "config" for the networks of the run's config, else the judges' name.
      faces: a name for faces that are not the run's own.
    """
    parts = ["evaluation", "" if judge == "config" else judge, faces and f"on_{faces}"]
    return pathlib.Path(workdir) / "_".join(part for part in parts if part)


@in_float32
def evaluate(
    setup: EvaluationSetup,
    method: EditingMethod,
    faces: Sequence[Mapping[str, Any]],
    directory: str | os.PathLike[str],
    *,
    prediction_columns: Sequence[int],
    requests: Sequence[Request] | None = None,
    compared_judges: Judges | None = None,
    has_originals: bool = True,
    notes: Mapping[str, Any] | None = None,
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """Evaluate an editing method and write the results.

    `directory` gets `points.csv` (every measured point), `summary.json`, `outcomes.npz` and
    `faces.npz` (the numbers of every face), `preservation.png` (the curves),
    `semantic_variables.png` (their histograms), `edits.png` and `sliders.png` (faces), and for a
    flow `samples_*.png` (new faces). Each file is replaced whole, and only after everything has
    been computed. The summary is the mark of complete results: an older one is removed first, and
    the new one comes last. Until then `unfinished.npz` holds the edits that are measured, and the same
    evaluation, begun again after a kill, goes on after them.

    Args:
      setup: generator and judges.
      method: the editing method.
      faces: items with `image` (uint8), `w_plus` and `predictions`.
      directory: of the results.
      prediction_columns: the columns of `predictions` that are the method's attributes.
      requests: the edits to measure; None for each attribute alone and all together.
      compared_judges: others to whom the setup's judges are compared, in the summary's
        `agreement`.
      has_originals: whether the faces' images are more than the generator's own of their latents.
      notes: further entries of the summary.
      settings: how much is evaluated.

    Returns:
      The summary, as in `summary.json`.
    """
    start = time.monotonic()
    requests = requests_for(method.attributes) if requests is None else requests
    for request in requests:
        judge_columns(setup.judges, request)  # an attribute that cannot be judged is found out now
    batch_size = settings.batch_size
    logging.info("1/3 reading and judging the faces as they are")
    observed, shown = observe_faces(
        setup,
        method,
        faces,
        num_faces=settings.num_faces,
        num_shown=settings.num_shown,
        prediction_columns=prediction_columns,
        batch_size=batch_size,
    )
    logging.info("observed %d faces in %.0f s", len(observed.predictions), time.monotonic() - start)
    key = _key_of(setup, method, observed, requests, settings, notes or {})
    unfinished = Unfinished(directory, key)
    outcomes = {}
    for number, request in enumerate(requests, 1):
        title = f"2/3 edit {number} of {len(requests)}: {request.name}"
        if request.name in unfinished.outcomes:
            logging.info("%s, measured before the interruption", title)
            outcomes[request.name] = unfinished.outcomes[request.name]
            continue
        logging.info(
            "%s, %d strengths or fewer, to %g%% accuracy",
            *(title, len(settings.strengths), 100 * settings.stop_at),
        )
        outcomes[request.name] = sweep(
            setup,
            method,
            observed,
            request,
            strengths=settings.strengths,
            batch_size=batch_size,
            stop_at=settings.stop_at,
        )
        unfinished.keep(request.name, outcomes[request.name])
    drawn = without_pairs(list(outcomes))
    logging.info("3/3 drawing, and sampling where the method can")
    figures: dict[str, Figure] = {
        "preservation": preservation_figure(
            {name: outcomes[name] for name in drawn}, num_resamples=settings.num_resamples
        ),
        "semantic_variables": semantic_variables_figure(
            observed.semantic_variables,
            observed.predictions,
            method.attributes,
            reader=method.reader,
        ),
        "edits": requests_figure(
            setup,
            method,
            observed,
            shown,
            [request for request in requests if request.name in drawn],
            batch_size=batch_size,
            has_originals=has_originals,
        ),
        "sliders": sliders_figure(setup, method, observed, shown, batch_size=batch_size),
    }
    summary = report.summarize(
        outcomes,
        observed,
        attributes=method.attributes,
        judged_attributes=setup.judges.attributes,
        num_resamples=settings.num_resamples,
    )
    summary |= notes or {}
    summary["settings"] = {**dataclasses.asdict(settings), "strengths": [*settings.strengths]}
    if compared_judges is not None:
        summary["agreement"] = agreement(
            setup, compared_judges, method, observed, requests, batch_size=batch_size
        )
    if settings.num_samples and isinstance(method, SamplingMethod):
        summary["sampling"] = {}
        for kind in sampling.kinds_of(setup, method):
            sampled = sampling.sample_and_judge(
                setup,
                method,
                num_samples=settings.num_samples,
                num_shown=settings.num_shown,
                kind=kind,
                batch_size=batch_size,
            )
            figures[f"samples_{kind}"] = sampling.samples_figure(sampled, method.attributes, kind)
            summary["sampling"][kind] = sampling.summarize_samples(
                sampled,
                method.attributes,
                setup.judges.attributes,
                observed.reconstruction.embeddings,
            )
    summary["seconds"] = round(time.monotonic() - start, 1)

    directory = pathlib.Path(directory)
    (directory / "summary.json").unlink(missing_ok=True)
    for earlier in directory.glob("samples_*.png"):  # which these settings may not make again
        earlier.unlink()
    report.save_arrays(directory / "outcomes.npz", report.outcome_arrays(outcomes))
    report.save_arrays(
        directory / "faces.npz",
        {
            "variables": observed.semantic_variables,
            "predictions": observed.predictions,
            "readings": observed.reconstruction.probabilities,
        },
    )
    write_text(directory / "points.csv", report.points_csv(outcomes))
    for name, figure in figures.items():
        write_atomic(
            directory / f"{name}.png",
            lambda stream, figure=figure: figure.savefig(stream, format="png", dpi=150),
        )
    write_json(directory / "summary.json", summary)
    unfinished.discard()
    return summary


def _key_of(
    setup: EvaluationSetup,
    method: EditingMethod,
    observed: SourceFaces,
    requests: Sequence[Request],
    settings: EvaluationSettings,
    notes: Mapping[str, Any],
) -> str:
    """Of the outcomes of these requests, however many faces a call takes, and whatever is drawn and sampled."""
    measured = {
        "requests": {request.name: [*request.attributes] for request in requests},
        "strengths": [*settings.strengths],
        "stop_at": settings.stop_at,
    }
    # Bits that the faces' networks compute differ from run to run on some accelerators; their decisions do not.
    faces = {
        "predictions": observed.predictions,
        "decisions": observed.reconstruction.probabilities > 0.5,
    }
    measured["attributes"] = [*method.attributes]
    return evaluation_key((setup, method), faces, {**notes, **measured})
