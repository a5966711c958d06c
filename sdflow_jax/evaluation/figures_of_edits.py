"""Pictures of edits: a table of all requests, and rows of faces along one semantic variable."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from sdflow_jax.evaluation.drawing import Figure
from sdflow_jax.evaluation.evaluation_setup import EvaluationSetup
from sdflow_jax.evaluation.plots import edit_grid_figure, readable
from sdflow_jax.evaluation.requests import Request, target_variables
from sdflow_jax.evaluation.source_faces import ShownFaces, SourceFaces
from sdflow_jax.evaluation.strength_sweep import (
    counted_faces,
    edited_images,
    judge_columns,
)
from sdflow_jax.methods.method import EditingMethod

SLIDER_VALUES = (-0.2, 0.0, 0.25, 0.5, 0.75, 1.0, 1.2)


MARKS_TOLD = "✓ the judge sees the edit, ✗ it does not, – not counted: it saw the opposite before"


def success_marks(
    is_turned: Bool[np.ndarray, "f j"], is_counted: Bool[np.ndarray, " f"]
) -> list[str]:
    """What stands below edited faces; see `MARKS_TOLD`.

    Args:
      is_turned: whether the judge's decision on each edited attribute has changed.
      is_counted: as of `counted_faces`.
    """
    return [
        "–" if not counts else "✓" if turned.all() else "✗"
        for turned, counts in zip(is_turned, is_counted, strict=True)
    ]


def requests_figure(
    setup: EvaluationSetup,
    method: EditingMethod,
    faces: SourceFaces,
    shown: ShownFaces,
    requests: Sequence[Request],
    *,
    batch_size: int,
    has_originals: bool = True,
) -> Figure:
    """The first faces, unselected: original, reconstruction, and every request at strength 1.

    Below an edit stand its direction, whether the judge sees it (`success_marks`), and the identity cosine.
    Faces that the generator has made up itself have no originals.
    """
    count = len(shown.originals)
    faces = jax.tree.map(lambda x: x[:count], faces)
    if has_originals:
        columns, images = ["original", "reconstruction"], [shown.originals, shown.reconstructions]
        identity = np.sum(faces.original.embeddings * faces.reconstruction.embeddings, axis=1)
        notes = [[""] * count, [f"identity {x:.2f}" for x in identity]]
        compared = "reconstructions to the original, edits to the reconstruction"
    else:
        columns, images, notes = ["face"], [shown.reconstructions], [[""] * count]
        compared = "edits to the face"
    for request in requests:
        indices = [method.attributes.index(name) for name in request.attributes]
        is_edited = np.isin(np.arange(len(method.attributes)), indices)
        targets = target_variables(faces.semantic_variables, faces.is_on, 1.0, is_edited)
        edited = edited_images(setup, method, faces.code, targets, batch_size=batch_size)
        judged = judge_columns(setup.judges, request)
        is_turned = edited.outputs.decides_against(faces.reconstruction)
        marks = success_marks(is_turned[:, judged], counted_faces(faces, indices, judged))
        identity = np.sum(edited.outputs.embeddings * faces.reconstruction.embeddings, axis=1)
        if len(indices) == 1:
            directions = ["remove" if is_on else "add" for is_on in faces.is_on[:, indices[0]]]
            columns.append(readable(request.name))
        else:
            directions = ["all"] * count
            is_all = len(indices) == len(method.attributes)
            columns.append("all at once" if is_all else readable(request.name))
        images.append(edited.images)
        notes.append(
            [
                f"{direction} {mark}  {cosine:.2f}"
                for direction, mark, cosine in zip(directions, marks, identity, strict=True)
            ]
        )
    return edit_grid_figure(
        [[column[i] for column in images] for i in range(count)],
        columns,
        [[column[i] for column in notes] for i in range(count)],
        caption=(
            f"The first {count} faces of the split, not selected; edits at strength 1."
            f"\n{MARKS_TOLD}.\nNumber: identity cosine, {compared}."
        ),
    )


def sliders_figure(
    setup: EvaluationSetup,
    method: EditingMethod,
    faces: SourceFaces,
    shown: ShownFaces,
    *,
    batch_size: int,
    faces_per_attribute: int = 2,
) -> Figure:
    """One semantic variable at a time, set to `SLIDER_VALUES`, on the first faces."""
    count = min(faces_per_attribute, len(shown.originals))
    rows = [(a, i) for a in range(len(method.attributes)) for i in range(count)]
    of_row: Any = np.repeat([i for _, i in rows], len(SLIDER_VALUES))
    targets = faces.semantic_variables[of_row]
    edited_column = np.repeat([a for a, _ in rows], len(SLIDER_VALUES))
    targets[np.arange(len(targets)), edited_column] = np.tile(SLIDER_VALUES, len(rows))
    code = jax.tree.map(lambda x: x[of_row], faces.code)
    images = edited_images(setup, method, code, targets, batch_size=batch_size).images
    images = images.reshape(len(rows), len(SLIDER_VALUES), *images.shape[1:])
    table, notes = [], []
    for (attribute, face), strip in zip(rows, images, strict=True):
        table.append([shown.reconstructions[face], *strip])
        read = faces.semantic_variables[face, attribute]
        notes.append([f"{readable(method.attributes[attribute])}: {read:.2f}", *[""] * len(strip)])
    return edit_grid_figure(
        table,
        ["reconstruction", *(f"{value:g}" for value in SLIDER_VALUES)],
        notes,
        caption=(
            "One semantic variable set to the value above, the others as read; its own value"
            " stands below the reconstruction.\nValues outside 0 to 1 extrapolate."
        ),
    )
