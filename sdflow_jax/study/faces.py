"""Figures 3 and 6: the same held-out faces edited by every method, at the same accuracy."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdflow_jax.evaluation.curves import EditOutcomes, preservation_at
from sdflow_jax.evaluation.drawing import Figure
from sdflow_jax.evaluation.evaluation_setup import EvaluationSetup
from sdflow_jax.evaluation.figures_of_edits import MARKS_TOLD, success_marks
from sdflow_jax.evaluation.plots import edit_grid_figure
from sdflow_jax.evaluation.requests import Request, target_variables
from sdflow_jax.evaluation.source_faces import observe_faces
from sdflow_jax.evaluation.strength_sweep import (
    counted_faces,
    edited_images,
    judge_columns,
)
from sdflow_jax.methods.method import EditingMethod
from sdflow_jax.study.curves import request_title

ACCURACY = 0.9
_LONGEST = 16  # letters above a column, in a line
_LETTERS = 20  # of the caption, below a column


def strength_at(outcome: EditOutcomes, accuracy: float = ACCURACY) -> float:
    """The weakest strength that reaches an editing accuracy; where none does, that of the highest.

    Not the strongest tried: far beyond what a method was made for, its faces fall apart and turn
    less often.
    """
    turned = outcome.success.mean(0)
    found = preservation_at(turned, outcome.strengths, np.array([accuracy]))[0]
    return float(found) if np.isfinite(found) else float(outcome.strengths[np.argmax(turned)])


def faces_figures(
    setup: EvaluationSetup,
    methods: Mapping[str, EditingMethod],
    titles: Mapping[str, str],
    faces: Sequence[Mapping[str, Any]],
    requests: Sequence[Request],
    outcomes: Mapping[str, Mapping[str, EditOutcomes]],
    *,
    num_shown: int,
    prediction_columns: Sequence[int],
    has_originals: bool = True,
) -> dict[str, Figure]:
    """One figure for each request: a face per row, a method per column.

    The first faces of the split, unselected; every method at the strength at which it reaches
    `ACCURACY` on all faces, so that what is compared is what the edit costs.

    Args:
      setup: generator and judges.
      methods: name -> editing method.
      titles: name -> title.
      faces: items with `image`, `w_plus` and `predictions`.
      requests: the edits.
      outcomes: method -> request -> outcome, from which the strengths are taken.
      num_shown: how many faces.
      prediction_columns: the columns of `predictions` that are the methods' attributes.
      has_originals: whether the faces' images are more than the generator's own of their latents.
    """
    unedited = ["original", "reconstruction"] if has_originals else ["face"]
    columns = {request.name: [*unedited] for request in requests}
    images: dict[str, list] = {request.name: [] for request in requests}
    notes: dict[str, list] = {request.name: [] for request in requests}
    for name, method in methods.items():
        observed, shown = observe_faces(
            setup,
            method,
            faces,
            num_faces=num_shown,
            num_shown=num_shown,
            prediction_columns=prediction_columns,
            batch_size=num_shown,
        )
        before = observed.reconstruction
        for request in requests:
            if not images[request.name]:
                pictures = [shown.originals] * has_originals + [shown.reconstructions]
                images[request.name] += pictures
                notes[request.name] += [[""] * len(shown.originals)] * len(pictures)
            strength = strength_at(outcomes[name][request.name])
            is_edited = np.isin(method.attributes, request.attributes)
            targets = target_variables(
                observed.semantic_variables, observed.is_on, strength, is_edited
            )
            edited = edited_images(setup, method, observed.code, targets, batch_size=num_shown)
            judged = judge_columns(setup.judges, request)
            columns_edited = [method.attributes.index(x) for x in request.attributes]
            marks = success_marks(
                edited.outputs.decides_against(before)[:, judged],
                counted_faces(observed, columns_edited, judged),
            )
            identity = np.sum(edited.outputs.embeddings * before.embeddings, axis=1)
            turned = min(ACCURACY, outcomes[name][request.name].success.mean(0).max())
            heading = [*textwrap.wrap(titles[name], _LONGEST), f"{turned:.0%}"]
            columns[request.name].append("\n".join(heading))
            images[request.name].append(edited.images)
            notes[request.name].append(
                [f"{mark}  {cosine:.2f}" for mark, cosine in zip(marks, identity, strict=True)]
            )
    return {
        request.name: edit_grid_figure(
            [[column[i] for column in images[request.name]] for i in range(len(shown.originals))],
            columns[request.name],
            [[column[i] for column in notes[request.name]] for i in range(len(shown.originals))],
            caption="\n".join(
                line
                for told in (
                    f"{request_title(request.name)} turned to the opposite on the first held-out faces, not selected;",
                    f"each method at the strength where {ACCURACY:.0%} of all faces turn, or where most do (below its"
                    " name).",
                    f"{MARKS_TOLD}. Number: identity cosine.",
                )
                for line in textwrap.wrap(told, _LETTERS * len(columns[request.name]))
            ),
        )
        for request in requests
    }
