import math

import numpy as np
import pytest

from sdflow_jax.classifiers.measuring import summary_of
from sdflow_jax.classifiers.metrics import area_under_curve, score_answers


def test_area_counts_how_often_a_positive_outscores_a_negative():
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    truth = np.array([False, False, True, True])
    assert area_under_curve(scores, truth) == pytest.approx(0.75)
    assert area_under_curve(-scores, truth) == pytest.approx(0.25)
    assert area_under_curve(np.zeros(4), truth) == pytest.approx(0.5)


def test_each_question_is_scored_on_the_labels_that_are_known():
    logits = np.array([[-2.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.5, -1.0, 1.0], [3.0, 1.0, 1.0]])
    labels = np.array([[0, 1, -1], [0, -1, -1], [1, 1, -1], [1, 1, -1]], np.int8)
    first, alike, unknown = score_answers(logits, labels)
    assert first == (4, 0.5, 0.75, 0.75)
    assert alike[:3] == (3, 1.0, pytest.approx(2 / 3)) and math.isnan(alike.area)
    assert unknown.faces == 0 and all(math.isnan(x) for x in unknown[1:])
    summary = summary_of((first, first._replace(accuracy=0.25)), ("Male", "Bald"))
    assert summary["accuracy"] == 0.5 and summary["accuracy/Bald"] == 0.25
    assert summary["area"] == summary["area/Male"] == 0.75
