import numpy as np

from sdflow_jax.evaluation.curves import (
    EditOutcomes,
    bootstrap_weights,
    outcome_weights,
    preservation_at,
    preservation_band,
)


def test_preservation_is_interpolated_between_measured_points():
    accuracy, preservation = np.array([0.0, 0.4, 0.8]), np.array([1.0, 0.9, 0.7])
    result = preservation_at(accuracy, preservation, np.array([0.2, 0.4, 0.5, 0.8]))
    np.testing.assert_allclose(result, [0.95, 0.9, 0.85, 0.7])


def test_level_that_is_never_reached_has_no_preservation():
    result = preservation_at(np.array([0.0, 0.9]), np.array([1.0, 0.5]), np.array([0.9, 0.95]))
    np.testing.assert_allclose(result, [0.5, np.nan])


def test_weakest_sufficient_edit_counts_when_accuracy_falls_again():
    accuracy, preservation = np.array([0.0, 0.6, 0.4, 0.9]), np.array([1.0, 0.8, 0.6, 0.4])
    result = preservation_at(accuracy, preservation, np.array([0.5, 0.65]))
    # 0.5 lies between the first two points; 0.65 half way between 0.4 and 0.9.
    np.testing.assert_allclose(result, [1.0 - 0.2 * 0.5 / 0.6, 0.5])


def test_level_below_the_first_point_takes_the_first_point():
    result = preservation_at(np.array([0.3, 0.6]), np.array([0.9, 0.8]), np.array([0.1, 0.3]))
    np.testing.assert_allclose(result, [0.9, 0.9])


def test_bootstrap_weights_are_resamples_of_the_faces():
    weights = bootstrap_weights(7, 50, seed=1)
    np.testing.assert_allclose(weights.sum(1), 1.0)
    np.testing.assert_allclose(weights * 7, np.rint(weights * 7), atol=1e-9)


def test_faces_weigh_alike_in_whatever_counts_them():
    def weights(is_counted):
        ones = np.ones((sum(is_counted), 1))
        outcome = EditOutcomes(np.zeros(1), *[ones] * 4, 0, is_counted=np.array(is_counted))
        return outcome_weights(outcome, 50)

    every, most = weights([True] * 6), weights([True, False, True, True, True, True])
    np.testing.assert_allclose(every, bootstrap_weights(6, 50, seed=0))
    kept = every[:, [0, 2, 3, 4, 5]]
    np.testing.assert_allclose(most, kept / kept.sum(1, keepdims=True))
    # A third of the resamples do not hold the one face that counts.
    np.testing.assert_array_equal(weights([False] * 5 + [True]), 1.0)


def test_band_of_a_mean_is_its_standard_error():
    # One strength that always succeeds: the curve at any level is the mean of the preservation.
    preservation = np.random.default_rng(0).normal(0.7, 0.1, (400, 1))
    band = preservation_band(np.ones((400, 1)), preservation, np.array([0.5]), num_resamples=4000)
    half_width = 1.96 * preservation.std() / np.sqrt(400)
    np.testing.assert_allclose(band.value, preservation.mean())
    # 4000 resamples place the 2.5% quantile within about 5% of the half width.
    np.testing.assert_allclose(band.high - band.value, half_width, rtol=0.1)
    np.testing.assert_allclose(band.value - band.low, half_width, rtol=0.1)


def test_band_is_absent_where_many_resamples_do_not_reach_the_level():
    success = np.zeros((20, 2))
    success[:10, 1] = 1  # half of the faces succeed, so half of the resamples fall short of 0.5
    band = preservation_band(success, np.ones((20, 2)), np.array([0.1, 0.5]))
    assert np.isfinite(band.value).all()
    assert np.isfinite(band.low).tolist() == [True, False]


def test_some_of_an_outcomes_faces_are_resampled_as_before():
    random = np.random.default_rng(0)
    is_counted = np.array([True, False, True, True, False, True])
    success, flat = random.integers(0, 2, (4, 2)).astype(float), np.zeros((4, 2))
    outcome = EditOutcomes(np.arange(2.0), success, flat, flat, flat, 2, is_counted=is_counted)
    is_chosen = np.array([True, False, True, True])
    some = outcome.of_faces(is_chosen)
    np.testing.assert_array_equal(some.success, success[is_chosen])
    assert some.is_counted.tolist() == [True, False, False, True, False, True]
    weights = outcome_weights(some, 20)
    assert weights.shape == (20, some.num_faces)
    # A face weighs in proportion to what it weighs among all of them.
    every = outcome_weights(outcome, 20)[:, is_chosen]
    total = every.sum(1, keepdims=True)
    np.testing.assert_allclose(
        weights[total[:, 0] > 0], (every / np.where(total, total, 1))[total[:, 0] > 0]
    )
