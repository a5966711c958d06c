import numpy as np
import pytest
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.study import few_trainings
from sdflow_jax.study.areas import (
    HIGHEST,
    LEVELS,
    common_level,
    holm,
    mean_draws,
    over_seeds,
    resample,
    resample_all,
    share_of_trainings,
)
from sdflow_jax.study.measured import Lead, leads, leads_by_kind, mean_kept
from sdflow_jax.study.tables import count_sentence, marks


def lead(what, ours, other):
    areas = {("ours", "Young", "identity"): ours, ("other", "Young", "identity"): other}
    (found,) = (x for x in leads(areas, [("ours", "other")]) if x.what == what)
    return found


def outcomes(identity, *, reach=1.0, faces=40, seed=0):
    """A method whose accuracy rises with the strength up to `reach`, at a falling identity."""
    random = np.random.default_rng(seed)
    order = random.permutation(faces)
    strengths = np.linspace(0, 1, 11)
    turned = order[:, None] < strengths[None] * reach * faces
    kept = np.broadcast_to(1 - (1 - identity) * strengths, turned.shape)
    kept = kept + 0.01 * random.standard_normal((faces, 1))
    return EditOutcomes(
        strengths=strengths,
        success=turned.astype(float),
        identity=kept,
        identity_original=kept,
        attributes=np.full(turned.shape, np.nan),
        num_excluded=0,
    )


def test_area_of_a_straight_line_is_its_mean_height():
    found = resample([outcomes(0.5)], "identity", num_resamples=100)
    # Identity falls from 1 to 0.5 while accuracy rises from 0 to 1.
    assert found.area == pytest.approx(np.mean(1 - 0.5 * LEVELS), abs=0.02)
    # All turn at last, but nobody would go on after 99%.
    assert found.highest_accuracy == found.highest_accuracies.max() == HIGHEST == 0.99
    assert abs(found.areas.mean() - found.area) < 0.02 and found.areas.std(1).min() > 1e-4


def test_accuracy_that_is_never_reached_counts_nothing():
    whole = resample([outcomes(1.0)], "identity", num_resamples=10)
    half = resample([outcomes(1.0, reach=0.5)], "identity", num_resamples=10)
    assert half.area == pytest.approx(51 / 96 * whole.area, abs=0.01)  # levels 0 to 0.50
    assert np.isnan(half.curve[LEVELS > 0.51]).all()


def test_seeds_widen_the_interval_by_their_own_difference():
    alike = resample([outcomes(0.5)] * 3, "identity", num_resamples=400)
    unlike = resample(
        [outcomes(identity) for identity in (0.2, 0.5, 0.8)], "identity", num_resamples=400
    )
    assert alike.area == pytest.approx(unlike.area, abs=0.01)
    assert unlike.areas[0].std() > 2.5 * alike.areas[0].std()
    assert unlike.areas[1].std() == pytest.approx(alike.areas[1].std(), rel=0.3)  # faces alone
    assert share_of_trainings(unlike.areas) > 0.8 and share_of_trainings(alike.areas) < 0.01
    # -, 0, + 0.3 times the mean level have the standard deviation 0.3, divided by n - 1, and their mean
    # 1 / sqrt(3) of that.
    assert unlike.areas[0].std() == pytest.approx(0.3 * LEVELS.mean() / np.sqrt(3), rel=0.1)


@pytest.mark.parametrize(
    ("of_faces", "of_other"), [(0.0, 1.0), (0.0, 0.1), (0.5, 1.0), (0.5, 0.0), (5.0, 1.0)]
)
def test_few_seeds_err_no_more_often_than_they_say(of_faces, of_other):
    """Two methods alike, three trainings of each, which differ by 1 and `of_other`, and faces that make the mean of
    either differ by `of_faces`.
    """
    random = np.random.default_rng(0)
    found = []
    for _ in range(400):
        values = random.standard_normal((2, 3)) * [[1.0], [of_other]]
        off = of_faces * random.standard_normal(2)
        draws = [
            over_seeds(x[:, None] + of_faces * random.standard_normal(500), stream)
            for stream, x in enumerate(values + off[:, None])
        ]
        value = values.mean(1) @ [1, -1] + off @ [1, -1]
        found.append(Lead("reach", "Young", "one", "other", None, value, *draws, (3, 3)).found)
    assert 0.015 < np.mean([x.p_value < 0.05 for x in found]) < 0.08
    assert 0.015 < np.mean([x.low > 0 or x.high < 0 for x in found]) < 0.08
    of_trainings = (1 + of_other**2) / 3
    variance = of_trainings + 2 * of_faces**2
    assert np.mean([x.spread**2 for x in found]) == pytest.approx(variance, rel=0.1)
    assert np.mean([x.share for x in found]) == pytest.approx(of_trainings / variance, abs=0.12)


def test_variances_that_are_alike_share_their_degrees():
    assert few_trainings.joint_degrees([0.3, 0.3], [2, 2]) == 4
    assert few_trainings.joint_degrees([0.3, 0.0], [2, 2]) == 2
    assert few_trainings.joint_degrees([0.0, 0.0], [2, 2]) == 4
    assert few_trainings.joint_degrees([4.0, 1.0], [2, 2]) == 2.9  # 25 / (16 / 2 + 1 / 2)
    assert few_trainings.joint_degrees([0.3, 0.3], [2, 0]) == 0


@pytest.mark.parametrize("degrees", [1, 2, 2.9, 4])
def test_the_error_is_students_or_normal_where_one_part_is_all(degrees):
    for deviations in (0.3, 2.0, 7.0):
        alone = few_trainings.p_value(deviations, 1.0, degrees)
        assert alone == pytest.approx(2 * stdtr(degrees, -deviations), rel=1e-5)
        known = few_trainings.p_value(deviations, 0.0, degrees)
        assert known == pytest.approx(2 * ndtr(-deviations), rel=1e-5)
    ends = few_trainings.widening(np.array([0.0, 1.0]), degrees)
    np.testing.assert_allclose(ends, [1, stdtrit(degrees, 0.975) / ndtri(0.975)], rtol=1e-5)
    between = few_trainings.widening(np.linspace(0, 1, 9), degrees)
    assert (np.diff(between) > 0).all()


def test_so_few_faces_that_no_draw_differs_decide_nothing():
    every, none = (
        resample([outcomes(0.5, reach=reach, faces=1)] * 3, "identity", num_resamples=50)
        for reach in (1.0, 0.0)
    )
    found = lead("reach", every, none)
    assert found.found.value == pytest.approx(0.99)
    assert found.degrees == 4 and marks([found]) == [""]


def test_one_seed_decides_nothing():
    ours, other = (resample([outcomes(x)], "identity", num_resamples=200) for x in (0.6, 0.4))
    found = lead("identity", ours, other)
    assert found.found.low > 0 and found.found.p_value == 1 and marks([found]) == [""]
    assert "None of 1 comparisons is decided" in count_sentence([found], "ours")
    three = resample([outcomes(0.6)] * 3, "identity", num_resamples=200)
    assert lead("identity", three, other).found.p_value == 1


def test_seeds_of_two_methods_are_resampled_apart():
    seeds = [{"Young": outcomes(identity)} for identity in (0.2, 0.5, 0.8)]
    found = resample_all({"one": seeds, "two": seeds}, num_resamples=400)
    one, two = (found[name, "Young", "identity"] for name in ("one", "two"))
    assert abs(np.corrcoef(one.areas[0], two.areas[0])[0, 1]) < 0.2
    np.testing.assert_array_equal(one.areas[1], two.areas[1])  # the same faces
    # Equal methods, but nothing says that the second's seeds would come out as the first's do.
    found = lead("identity", one, two).found
    assert found.value == 0 and found.low < -0.05


def test_the_mean_over_one_edit_is_that_edit():
    # Some resamples of the one method miss the level that both reach.
    ours, other = (
        resample(
            [outcomes(x, reach=reach, seed=seed) for seed in range(3)],
            "identity",
            num_resamples=400,
        )
        for x, reach in ((0.6, 1.0), (0.4, 0.8))
    )
    level = int(np.flatnonzero(np.isfinite(other.curves[0]).mean(0) >= 0.99)[-1])
    other.curves[0, :4, : level + 1] = np.nan
    areas = {("ours", "Young", "identity"): ours, ("other", "Young", "identity"): other}
    alone, mean = (find(areas, [("ours", "other")]) for find in (leads, leads_by_kind))
    assert np.isnan(alone[1].draws[0]).sum() == np.isnan(alone[1].draws_other[0]).sum() == 4
    for one, same in zip(alone, mean, strict=True):
        assert one.found.low == pytest.approx(same.found.low, abs=1e-3)
        assert one.found.high == pytest.approx(same.found.high, abs=1e-3)


def test_reach_and_preservation_are_compared_apart():
    far, near = (
        resample([outcomes(0.5, reach=reach)], "identity", num_resamples=200) for reach in (1, 0.5)
    )
    reached = lead("reach", far, near).found
    assert reached.value == pytest.approx(0.5, abs=0.03) and 0.3 < reached.low < reached.high < 0.7
    # At equal accuracy the method of half the reach has gone twice as far: 0.5 x level more is lost.
    level = lead("identity", far, near).level
    assert 0.25 < level < 0.5  # less than its reach: nearly all resamples must get there
    assert lead("identity", far, near).value == pytest.approx(0.5 * level, abs=0.02)


def test_accuracy_at_which_a_sweep_stops_does_not_count_as_missed():
    stopped = resample([outcomes(0.5, reach=0.995, faces=200)], "identity", num_resamples=100)
    assert np.isfinite(stopped.curves).all()


def test_lead_on_the_same_faces_is_sharper_than_either_area():
    ours, other = (
        resample([outcomes(identity)] * 3, "identity", num_resamples=200) for identity in (0.6, 0.5)
    )
    found = lead("identity", ours, other).found
    assert found.value == pytest.approx(0.095, abs=0.01) and found.low > 0
    assert found.p_value < 0.01
    assert found.high - found.low < np.quantile(ours.areas[0], 0.975) - ours.areas[0].min()
    equal = lead("identity", ours, ours).found
    assert equal.value == equal.low == equal.high == 0 and equal.p_value == 1


def test_measure_without_meaning_is_left_out_and_other_faces_are_refused():
    assert resample([outcomes(0.5)], "attributes", num_resamples=10) is None
    with pytest.raises(ValueError, match="same faces"):
        resample([outcomes(0.5), outcomes(0.5, faces=30)], "identity", num_resamples=10)


def partly_counted(num_requests, *, is_told=True, faces=300):
    """One method whose identity differs from face to face, alike in all its edits, of which each leaves
    out other faces; and the deviation of the mean over edits that this gives.
    """
    random = np.random.default_rng(5)
    kept = 0.8 + 0.1 * random.standard_normal((faces, 1))
    strengths = np.array([0.0, 1.0])
    found = {}
    for number in range(num_requests):
        is_counted = random.permutation(faces) >= 9
        turned = np.stack([np.zeros(faces), np.ones(faces)], axis=1)[is_counted]
        identity = np.broadcast_to(kept, (faces, 2))[is_counted]
        found[f"edit {number}"] = EditOutcomes(
            strengths,
            turned,
            *[identity] * 3,
            num_excluded=9,
            is_counted=is_counted if is_told else None,
        )
    return found, kept.std() / np.sqrt(faces)


def test_edits_that_leave_out_different_faces_share_the_others():
    requests, expected = partly_counted(6)
    areas = resample_all({"one": [requests], "other": [requests]}, num_resamples=400)
    levels = dict.fromkeys(requests, 0.5)
    found = mean_kept(areas, "one", list(requests), "identity", levels)
    assert found.spread == pytest.approx(expected, rel=0.1)
    # By rows, each edit draws other faces, as if six times as many had been measured.
    older, _ = partly_counted(6, is_told=False)
    apart = resample_all({"one": [older]}, num_resamples=400)
    assert mean_kept(apart, "one", list(older), "identity", levels).spread < 0.7 * expected


def test_methods_have_the_same_faces_where_one_does_not_say_which():
    told, older = (partly_counted(1, is_told=is_told)[0] for is_told in (True, False))
    found = resample_all({"new": [told], "old": [older]}, num_resamples=20)
    new, old = (found[name, "edit 0", "identity"] for name in ("new", "old"))
    np.testing.assert_array_equal(new.areas, old.areas)


def test_seeds_that_count_other_faces_are_refused():
    one, other = partly_counted(2)[0].values()
    with pytest.raises(ValueError, match="same faces"):
        resample([one, other], "identity", num_resamples=5)


def test_holm_rejects_in_order_until_one_stands():
    # 0.05 / 4, / 3, / 2, / 1: the third stands, and with it the fourth.
    assert holm([0.03, 0.001, 0.04, 0.016]) == [False, True, False, True]
    assert holm([0.013, 0.013, 0.013, 0.013]) == [False] * 4
    assert holm([]) == []
    assert holm([0.001, np.nan]) == [True, False] and holm([0.03, np.nan]) == [False, False]


def test_levels_are_the_numbers_that_are_written_for_them():
    assert LEVELS.tolist() == [float(f"0.{percent:02}") for percent in range(96)]
    # 35 of 50 faces are 70%.
    turned = outcomes(0.5, reach=0.7, faces=50)
    assert turned.success.mean(0).max() == 0.7
    assert np.isfinite(resample([turned], "identity", num_resamples=5).curve[70])


def test_resamples_of_many_edits_are_not_lost_for_what_one_misses():
    requests = {f"edit {number}": outcomes(0.5, reach=0.8, seed=number) for number in range(12)}
    areas = resample_all({"one": [requests] * 3, "other": [requests] * 3}, num_resamples=300)
    (of_all,) = (x for x in leads_by_kind(areas, [("one", "other")]) if x.what == "identity")
    assert np.isfinite(of_all.draws).all()
    for each in leads(areas, [("one", "other")]):
        assert np.isfinite(each.draws[0]).mean() >= 0.98


def test_edit_that_misses_a_level_does_not_move_the_mean_to_the_others():
    one = np.array([[1.0, np.nan, 3.0], [4.0, np.nan, np.nan]])
    found = mean_draws([one, np.array([[10.0, 20.0, 30.0], [0.0, 0.0, 2.0]])])
    np.testing.assert_array_equal(found, [[5.5, 11.0, 16.5], [2.0, 2.0, 3.0]])


def test_nobody_reaches_what_one_does_not():
    assert common_level([resample([outcomes(1.0, reach=0.0)], "identity", num_resamples=5)]) == 0.0
