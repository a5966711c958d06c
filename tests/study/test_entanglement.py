import numpy as np
import pytest

from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.study import entanglement as module
from sdflow_jax.study.entanglement import correlations_of, entanglement, slopes_of

JUDGED = ("Hat", "Male", "Young")
SLOPES = np.array([[0.5, 0.2, 1.0]])  # of all on Young


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
        SLOPES,
        num_resamples=20,
    )
    (level,) = found["all"].levels
    assert 0.3 < level < 0.5  # less than the reach of one half: nearly all resamples get there
    # That share of the faces turns at the same strength of one method, and at twice that of the other.
    np.testing.assert_allclose(found["all"].moves, level * np.array([[0.4, 0.0, 1.0]]), atol=0.02)
    twice = 2 * level
    np.testing.assert_allclose(found["half"].moves, twice * np.array([[0.4, 0.0, 1.0]]), atol=0.03)
    assert found["half"].drag.value == pytest.approx(twice * 0.2, abs=0.01)  # of Hat and Male
    # Least squares through the origin: (0.4 x 0.5 + 0 x 0.2) / (0.5^2 + 0.2^2), however far both went.
    for of_method in found.values():
        assert of_method.following.value == pytest.approx(0.2 / 0.29, abs=0.03)


def test_seeds_that_differ_widen_the_interval():
    seeds = [outcomes(x) for x in (0.1, 0.4, 0.7)]
    alike = entanglement({"a": [outcomes(0.4)] * 3}, JUDGED, SLOPES, num_resamples=100)["a"]
    unlike = entanglement({"a": seeds}, JUDGED, SLOPES, num_resamples=100)["a"]
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


def test_resamples_that_miss_a_level_are_not_lost(monkeypatch):
    given = []
    monkeypatch.setattr(
        module, "estimate", lambda value, draws, degrees: given.append(draws) or (value, draws)
    )
    entanglement({"a": [outcomes(0.4, reach=0.5)] * 3}, JUDGED, SLOPES, num_resamples=300)
    assert len(given) == 2 and np.isfinite(given).all()


def test_results_without_readings_have_none():
    old = outcomes(0.4)["Young"]
    old = {"Young": EditOutcomes(old.strengths, *[old.success] * 4, 0, old.was_on)}
    assert entanglement({"a": [old]}, JUDGED, SLOPES, num_resamples=5) == {}


def test_correlation_is_pearsons_and_zero_with_what_never_varies():
    random = np.random.default_rng(0)
    readings = random.uniform(size=(50, 3))
    readings[:, 1] = 0.5
    found = correlations_of(readings, JUDGED, ["Young"])
    expected = np.corrcoef(readings[:, 0], readings[:, 2])[0, 1]
    np.testing.assert_allclose(found, [[expected, 0.0, 1.0]], atol=1e-9)


def redrawn(share, *, faces=4000):
    """Edits of a common attribute, after which a rare one is drawn anew as the data has it given the
    first, on this share of the faces that turn.
    """
    random = np.random.default_rng(3)

    def rare_given(common):
        return random.random(faces) < np.where(common, 0.18, 0.02)

    def read(*is_on):
        return np.where(np.stack(is_on, axis=1), 0.95, 0.05)

    was_on = random.random(faces) < 0.5
    rare = rare_given(was_on)
    strengths, success, readings = np.array([0.0, 0.5, 1.0]), [], []
    before = read(was_on, rare)
    for strength in strengths:
        turns = random.random(faces) < strength
        now = was_on ^ turns
        is_redrawn = turns & (random.random(faces) < share)
        readings.append(read(now, np.where(is_redrawn, rare_given(now), rare)))
        success.append(turns)
    success, readings = np.stack(success, axis=1).astype(float), np.stack(readings, axis=1)
    kept = np.ones_like(success)
    return EditOutcomes(strengths, *(success, kept, kept, kept), 0, was_on, readings, before)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_edit_that_leaves_the_others_as_the_data_has_them_follows_by_one(share):
    edit, judged = redrawn(share), ("Male", "Wearing_Hat")
    slopes = slopes_of(edit.readings_before, judged, ["Male"])
    assert slopes[0, 1] == pytest.approx(0.16, abs=0.02)  # the correlation is 0.27
    found = entanglement({"a": [{"Male": edit}]}, judged, slopes, num_resamples=50)["a"]
    assert found.following.value == pytest.approx(share, abs=0.12)
    assert found.following.low - 0.1 < share < found.following.high + 0.1


def test_nothing_follows_where_nothing_goes_along():
    found = entanglement({"a": [outcomes(0.4)]}, JUDGED, np.eye(3)[2:], num_resamples=5)["a"]
    assert found.following.value == found.following.low == 0
    assert slopes_of(np.full((9, 3), 0.5), JUDGED, ["Young"]).tolist() == [[0.0, 0.0, 0.0]]
