import numpy as np
import pytest

from sdflow_jax.classifiers.losses import answer_weights, known_accuracy, known_cross_entropy

LABELS = np.array([[0, 1, 1], [0, 1, -1], [0, 0, -1], [1, 0, 0]], np.int8)
LOGITS = np.array([[-1.0, 2.0, 0.5], [0.3, 1.0, 9.0], [-2.0, 0.2, -9.0], [1.5, -1.0, 0.1]], "f")


def test_rare_answers_weigh_more_and_labels_one_in_the_mean():
    np.testing.assert_array_equal(answer_weights(LABELS, 0.0), np.ones((2, 3)))
    full = answer_weights(LABELS, 1.0)
    np.testing.assert_allclose(full[:, 0], [0.5 / 0.75, 0.5 / 0.25], rtol=1e-6)
    np.testing.assert_allclose(full[:, 1:], 1.0)
    half = answer_weights(LABELS, 0.5)[:, 0]
    assert half[1] / half[0] == pytest.approx(3**0.5)
    assert half @ [0.75, 0.25] == pytest.approx(1.0)


def test_unknown_labels_count_for_nothing():
    weights = answer_weights(LABELS, 1.0)
    total, count, right = 0.0, 0, 0
    for logits, labels in zip(LOGITS, LABELS, strict=True):
        for column, (logit, label) in enumerate(zip(logits, labels, strict=True)):
            if label >= 0:
                total += weights[label, column] * np.log1p(np.exp(-logit if label else logit))
                count, right = count + 1, right + ((logit > 0) == label)
    assert known_cross_entropy(LOGITS, LABELS, weights) == pytest.approx(total / count, rel=1e-6)
    assert known_accuracy(LOGITS, LABELS) == pytest.approx(right / count)
    other = np.where(LABELS == -1, np.float32(3.0), LOGITS)
    assert known_cross_entropy(other, LABELS, weights) == pytest.approx(total / count, rel=1e-6)
    nothing = np.full_like(LABELS, -1)
    assert known_cross_entropy(LOGITS, nothing, weights) == known_accuracy(LOGITS, nothing) == 0
