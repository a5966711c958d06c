import numpy as np
import pytest

from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.study.entanglement import correlations_of, entanglement

JUDGED = ("Hat", "Male", "Young")
CORRELATION = np.array([[0.5, 0.2, 1.0]])  # of Young with all


def outcomes(dragged, *, reach=1.0, faces=40):
    """Edits of Young that move Young by 1 at full strength and Hat by `dragged`, both in a straight line;
    half of the faces are young and lose it.
    """
    strengths = np.linspace(0, 1, 11)
    was_on = np.arange(faces) % 2 == 0
    success = (np.arange(faces)[:, None] + 0.5 < strengths * reach * faces).astype(float)
    before = np.full((faces, 3), 0.5)
    moved = np.where(was_on, -1.0, 1.0)[:, None, None] * strengths[None, :, None]
    readings = before[:, None] + moved * np.array([dragged, 0.0, 1.0])
    kept = np.ones_like(success)
    return {
        "Young": EditOutcomes(strengths, success, kept, kept, kept, 0, was_on, readings, before)
    }


def test_moves_are_taken_in_the_direction_of_the_edit_at_equal_accuracy():
    found = entanglement(
        {"all": [outcomes(0.4)], "half": [outcomes(0.4, reach=0.5)]},
        JUDGED,
        CORRELATION,
        num_resamples=20,
    )
    (level,) = found["all"].levels
    assert 0.3 < level < 0.5  # less than the reach of one half: nearly all resamples get there
    # That share of the faces turns at the same strength of one method, and at twice that of the other.
    np.testing.assert_allclose(found["all"].moves, level * np.array([[0.4, 0.0, 1.0]]), atol=0.02)
    twice = 2 * level
    np.testing.assert_allclose(found["half"].moves, twice * np.array([[0.4, 0.0, 1.0]]), atol=0.03)
    assert found["half"].drag.value == pytest.approx(twice * 0.2, abs=0.01)  # of Hat and Male
    # Least squares through the origin: (0.4 x 0.5 + 0 x 0.2) / (0.5^2 + 0.2^2).
    assert found["half"].following.value == pytest.approx(twice * 0.2 / 0.29, abs=0.03)


def test_seeds_that_differ_widen_the_interval():
    seeds = [outcomes(x) for x in (0.1, 0.4, 0.7)]
    alike = entanglement({"a": [outcomes(0.4)] * 3}, JUDGED, CORRELATION, num_resamples=100)["a"]
    unlike = entanglement({"a": seeds}, JUDGED, CORRELATION, num_resamples=100)["a"]
    assert unlike.drag.value == pytest.approx(alike.drag.value, abs=0.01)
    assert unlike.drag.high - unlike.drag.low > 3 * (alike.drag.high - alike.drag.low)


def test_edits_that_leave_out_different_faces_share_the_others():
    random = np.random.default_rng(5)
    faces, judged = 300, [f"attribute {number}" for number in range(6)]
    found = 0.3 * random.random(faces)  # what every edit of a face does to whatever was not asked
    strengths, requests = np.array([0.0, 1.0]), {}
    for number, name in enumerate(judged):
        is_counted = random.permutation(faces) >= 9
        change = np.repeat(found[is_counted, None], len(judged), axis=1)
        change[:, number] = 1.0
        readings = np.stack([np.zeros_like(change), change], axis=1)
        success = np.repeat([[0.0, 1.0]], is_counted.sum(), axis=0)
        kept = np.ones_like(success)
        was_on = np.zeros(is_counted.sum(), bool)
        requests[name] = EditOutcomes(
            *(strengths, success, kept, kept, kept, 9, was_on, readings, readings[:, 0]),
            is_counted=is_counted,
        )
    drag = entanglement({"a": [requests]}, judged, np.eye(6) + 0.1, num_resamples=300)["a"].drag
    # At 90% accuracy each face has moved by 0.9 of it.
    assert drag.spread == pytest.approx(0.9 * found.std() / np.sqrt(faces), rel=0.1)


def test_results_without_readings_have_none():
    old = outcomes(0.4)["Young"]
    old = {"Young": EditOutcomes(old.strengths, *[old.success] * 4, 0, old.was_on)}
    assert entanglement({"a": [old]}, JUDGED, CORRELATION, num_resamples=5) == {}


def test_correlation_is_pearsons_and_zero_with_what_never_varies():
    random = np.random.default_rng(0)
    readings = random.uniform(size=(50, 3))
    readings[:, 1] = 0.5
    found = correlations_of(readings, JUDGED, ["Young"])
    expected = np.corrcoef(readings[:, 0], readings[:, 2])[0, 1]
    np.testing.assert_allclose(found, [[expected, 0.0, 1.0]], atol=1e-9)
