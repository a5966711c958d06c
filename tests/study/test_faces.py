import numpy as np
import pytest

from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.study.faces import strength_at


def outcomes(*accuracies):
    success = np.arange(100)[:, None] < 100 * np.array(accuracies)
    preserved = np.ones(success.shape)
    strengths = np.arange(len(accuracies), dtype=float)
    return EditOutcomes(strengths, success.astype(float), preserved, preserved, preserved, 0)


def test_faces_are_shown_where_the_accuracy_is_reached():
    assert strength_at(outcomes(0.0, 0.8, 1.0, 1.0)) == pytest.approx(1.5)


def test_method_that_falls_short_is_shown_at_its_best_and_not_at_its_strongest():
    assert strength_at(outcomes(0.0, 0.5, 0.7, 0.6, 0.1)) == 2.0
