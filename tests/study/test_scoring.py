import numpy as np
import pytest

from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.study.scoring import score


def outcome(accuracies, identities, attributes):
    """Ten faces, all of one identity and one share of attributes at each strength."""
    success = np.arange(10)[:, None] < 10 * np.array(accuracies)
    identity, kept = (np.tile(np.array(x, float), (10, 1)) for x in (identities, attributes))
    strengths = np.arange(len(accuracies), dtype=float)
    return EditOutcomes(strengths, success.astype(float), identity, identity, kept, 0)


def test_score_is_the_mean_area_of_both_measures():
    # Accuracy rises from 0 to 1 while identity falls from 1 to 0.5: at the mean level, 0.475, it is 0.7625.
    found = score({"Young": outcome([0, 1], [1, 0.5], [1, 0.8])})
    assert found.preservation["identity"] == pytest.approx(0.7625)
    assert found.preservation["attributes"] == pytest.approx(1 - 0.2 * 0.475)
    assert found.value == pytest.approx((0.7625 + 0.905) / 2)
    assert found.reach == {"Young": 1.0}


def test_what_is_not_reached_counts_nothing():
    # Levels 0 to 0.50 of 0 to 0.95 are reached, 51 of 96, and cost nothing.
    found = score({"Young": outcome([0, 0.5], [1, 1], [1, 1])})
    assert found.value == pytest.approx(51 / 96) and found.reach == {"Young": 0.5}


def test_all_requests_count_alike_and_a_measure_without_meaning_is_left_out():
    nothing = [np.nan, np.nan]
    found = score(
        {
            "Young": outcome([0, 1], [1, 1], [1, 0.8]),
            "Male+Young": outcome([0, 1], [0.5, 0.5], nothing),
        }
    )
    assert found.preservation == pytest.approx({"identity": 0.75, "attributes": 0.905})
    assert found.value == pytest.approx(((1 + 0.905) / 2 + 0.5) / 2)


def test_nothing_has_no_score():
    with pytest.raises(ValueError, match="no request"):
        score({})
