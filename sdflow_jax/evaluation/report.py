"""The numbers of an evaluation as files: raw points, and a summary."""

import csv
import dataclasses
import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from sdflow_jax.evaluation.curves import EditOutcomes, preservation_at, preservation_band
from sdflow_jax.evaluation.source_faces import SourceFaces
from sdflow_jax.files.atomic import write_atomic

ACCURACY_LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)

POINT_COLUMNS = (
    *(
        "request",
        "strength",
        "num_faces",
        "editing_accuracy",
        "accuracy_adding",
        "accuracy_removing",
    ),
    *("identity_preservation", "identity_to_original", "attribute_preservation"),
)


def points_csv(outcomes: Mapping[str, EditOutcomes]) -> str:
    """Every measured point, a line each, with the columns `POINT_COLUMNS`.

    `accuracy_adding` counts only faces that lacked the attribute, `accuracy_removing` those that
    had it; an edit of several attributes leaves both empty.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(POINT_COLUMNS)
    for name, outcome in outcomes.items():
        adding, removing = _by_direction(outcome)
        columns = (
            *(outcome.success.mean(0), adding, removing),
            *(
                outcome.identity.mean(0),
                outcome.identity_original.mean(0),
                outcome.attributes.mean(0),
            ),
        )
        for strength, *values in zip(outcome.strengths, *columns, strict=True):
            numbers = ["" if np.isnan(value) else f"{value:.6f}" for value in values]
            writer.writerow([name, f"{strength:g}", outcome.num_faces, *numbers])
    return stream.getvalue()


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as a compressed `.npz` file."""
    write_atomic(path, lambda stream: np.savez_compressed(stream, **arrays))


def outcome_arrays(outcomes: Mapping[str, EditOutcomes]) -> dict[str, np.ndarray]:
    """Every number of every face, by `REQUEST/FIELD`; `load_outcomes` reads the file of them."""
    return {
        f"{name}/{field.name}": np.asarray(value)
        for name, outcome in outcomes.items()
        for field in dataclasses.fields(outcome)
        if (value := getattr(outcome, field.name)) is not None
    }


def load_outcomes(path: str | os.PathLike[str]) -> dict[str, EditOutcomes]:
    """The outcomes of an evaluation, request -> outcome, from its `outcomes.npz`."""
    with np.load(path) as arrays:
        return outcomes_of_arrays(arrays)


def outcomes_of_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, EditOutcomes]:
    """Request -> outcome, from the arrays of `outcome_arrays`."""
    fields: dict[str, dict[str, Any]] = {}
    for key, value in arrays.items():
        request, _, field = key.rpartition("/")
        fields.setdefault(request, {})[field] = value.item() if value.ndim == 0 else value
    return {name: EditOutcomes(**values) for name, values in fields.items()}


def summarize(
    outcomes: Mapping[str, EditOutcomes],
    faces: SourceFaces,
    *,
    attributes: tuple[str, ...],
    judged_attributes: tuple[str, ...],
    num_resamples: int = 500,
) -> dict[str, Any]:
    """The evaluation in numbers, as JSON values; what a curve never reaches is None.

    `reconstruction` tells how much of a face the generator keeps before any edit: identity cosine
    to the original, and for each attribute the share of faces on which the judge decides the same.
    No edit can be expected to do better. Faces that the judge does not find in the original are left
    out there; one lost in the reconstruction keeps nothing.
    """
    is_found = faces.original.is_read
    is_same = faces.original.decides_as(faces.reconstruction)
    identity = np.sum(faces.original.embeddings * faces.reconstruction.embeddings, axis=1)
    of_found = np.column_stack([identity, is_same])[is_found]
    kept = of_found.mean(0) if len(of_found) else np.full(of_found.shape[1], np.nan)
    return {
        "num_faces": len(faces.predictions),
        "edited_attributes": list(attributes),
        "judged_attributes": list(judged_attributes),
        "reconstruction": {
            "identity": _number(kept[0]),
            "attribute_agreement": {
                name: _number(share)
                for name, share in zip(judged_attributes, kept[1:], strict=True)
            },
        },
        "requests": {name: _summarize_one(x, num_resamples) for name, x in outcomes.items()},
    }


def _summarize_one(outcome: EditOutcomes, num_resamples: int) -> dict[str, Any]:
    levels = np.asarray(ACCURACY_LEVELS)
    accuracy = outcome.success.mean(0)
    strengths = preservation_at(accuracy, outcome.strengths, levels)
    bands = {
        "identity_preservation": preservation_band(
            outcome.success, outcome.identity, levels, num_resamples=num_resamples
        ),
        "attribute_preservation": preservation_band(
            outcome.success, outcome.attributes, levels, num_resamples=num_resamples
        ),
    }
    at_accuracy = {}
    for i, level in enumerate(ACCURACY_LEVELS):
        entry: dict[str, Any] = {"strength": _number(strengths[i])}
        for name, band in bands.items():
            entry[name] = _number(band.value[i])
            entry[f"{name}_95%"] = [_number(band.low[i]), _number(band.high[i])]
        at_accuracy[f"{level:.0%}"] = entry
    return {
        "num_faces": outcome.num_faces,
        "num_excluded": outcome.num_excluded,
        "highest_accuracy": _number(accuracy.max()),
        "strongest_edit": float(outcome.strengths[-1]),
        "at_accuracy": at_accuracy,
    }


def _by_direction(outcome: EditOutcomes) -> tuple[np.ndarray, np.ndarray]:
    none = np.full(len(outcome.strengths), np.nan)
    if outcome.was_on is None:
        return none, none
    halves = outcome.success[~outcome.was_on], outcome.success[outcome.was_on]
    adding, removing = (half.mean(0) if len(half) else none for half in halves)
    return adding, removing


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def table(summary: Mapping[str, Any]) -> str:
    """The summary for a terminal: a line per request, preservation at each accuracy level."""
    width = max(len("request"), *(len(name) for name in summary["requests"]))
    heads = [f"{level:.0%}" for level in ACCURACY_LEVELS]
    lines = [
        f"Identity / attribute preservation at editing accuracy ({summary['num_faces']} faces)",
        f"{'request':{width}}  faces  highest  " + "  ".join(f"{head:>13}" for head in heads),
    ]
    for name, request in summary["requests"].items():
        cells = [_cell(request["at_accuracy"][head]) for head in heads]
        lines.append(
            f"{name:{width}}  {request['num_faces']:5d}  {request['highest_accuracy']:7.1%}  "
            + "  ".join(cells)
        )
    return "\n".join(lines)


def _cell(entry: Mapping[str, Any]) -> str:
    identity, attributes = entry["identity_preservation"], entry["attribute_preservation"]
    if identity is None:
        return f"{'not reached':>13}"
    kept = "-" if attributes is None else f"{attributes:.1%}"
    return f"{identity:.3f} / {kept:>5}"
