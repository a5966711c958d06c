import numpy as np
import pytest

from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.evaluation.requests import Request
from sdflow_jax.study.faces import faces_figures, strength_at
from tests.evaluation.plain_setup import COLUMNS, TurningEditor, plain_faces, plain_setup


def outcomes(*accuracies):
    success = np.arange(100)[:, None] < 100 * np.array(accuracies)
    preserved = np.ones(success.shape)
    strengths = np.arange(len(accuracies), dtype=float)
    return EditOutcomes(strengths, success.astype(float), preserved, preserved, preserved, 0)


def test_faces_are_shown_where_the_accuracy_is_reached():
    assert strength_at(outcomes(0.0, 0.8, 1.0, 1.0)) == pytest.approx(1.5)


def test_method_that_falls_short_is_shown_at_its_best_and_not_at_its_strongest():
    assert strength_at(outcomes(0.0, 0.5, 0.7, 0.6, 0.1)) == 2.0


@pytest.mark.parametrize("has_originals", [True, False])
def test_a_figure_marks_the_faces_that_are_not_counted(has_originals):
    values = np.array([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7]])
    items = [{**x, "predictions": x["predictions"].copy()} for x in plain_faces(values)]
    items[1]["predictions"][2] = 0.1  # the training classifier sees no youth where the judge does
    found = faces_figures(
        plain_setup(),
        {"a": TurningEditor()},
        {"a": "Method A"},
        items,
        [Request("Young", ("Young",))],
        {"a": {"Young": outcomes(0.0, 1.0)}},
        num_shown=2,
        prediction_columns=COLUMNS,
        has_originals=has_originals,
    )
    words = [text.get_text() for text in found["Young"].axes[0].texts]
    first = ["original", "reconstruction"] if has_originals else ["face"]
    assert [word for word in words if word in ("original", "reconstruction", "face")] == first
    marks = [word[0] for word in words if word[:1] in ("✓", "✗", "–") and word[1:2] == " "]
    assert marks == ["✓", "–"]
