import numpy as np
import pytest

from sdflow_jax.study.independence import tell_apart
from sdflow_jax.study.probes import PROBES, area_under_roc, balanced_accuracy, probe_scores


def test_probe_tells_what_is_there_and_not_what_is_not():
    random = np.random.default_rng(0)
    codes = random.standard_normal((900, 6)).astype(np.float32)
    labels = np.stack(
        [
            codes[:, 0] > 0,  # which a line tells
            codes[:, 1] * codes[:, 2] > 0,  # which no line tells
            random.uniform(size=900) > 0.5,  # which nothing tells
        ],
        axis=1,
    )
    areas = {}
    for name, hidden_sizes in PROBES.items():
        scores = probe_scores(codes[:600], labels[:600], codes[600:], hidden_sizes=hidden_sizes)
        assert scores.shape == (300, 3)
        areas[name] = [area_under_roc(scores[:, i], labels[600:, i]) for i in range(3)]
    assert areas["linear"][0] > 0.97 and areas["nonlinear"][0] > 0.95
    assert abs(areas["linear"][1] - 0.5) < 0.12 and areas["nonlinear"][1] > 0.85
    assert abs(areas["linear"][2] - 0.5) < 0.12 and abs(areas["nonlinear"][2] - 0.5) < 0.12


def test_area_counts_pairs_in_order():
    labels = np.array([True, False, True, False])
    assert area_under_roc(np.array([3.0, 1.0, 4.0, 2.0]), labels) == 1.0
    assert area_under_roc(np.array([3.0, 1.0, 1.0, 2.0]), labels) == pytest.approx(2.5 / 4)
    assert np.isnan(area_under_roc(np.ones(4), np.ones(4, bool)))


def test_balanced_accuracy_of_chance_is_one_half():
    labels = np.arange(10) < 2
    assert balanced_accuracy(np.arange(10.0)[::-1], labels) == 1.0
    assert balanced_accuracy(np.zeros(10), labels) == 0.5
    assert np.isnan(balanced_accuracy(np.zeros(10), np.zeros(10, bool)))


def test_intervals_hold_faces_and_seeds():
    random = np.random.default_rng(0)
    labels = random.uniform(size=(200, 2)) > 0.5
    labels[:, 1] = True
    runs = [
        {"labels": labels, "z/linear": random.standard_normal((200, 2)) + labels} for _ in range(3)
    ]
    found = tell_apart(runs, "z", "linear", num_resamples=100)
    area, missing = found["area"]
    assert missing is None and found["mean area"] == [area]
    # Two normals one standard deviation apart: Phi(1 / sqrt(2)).
    assert area.value == pytest.approx(0.76, abs=0.04) and area.low < 0.76 < area.high
