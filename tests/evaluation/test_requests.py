import numpy as np

from sdflow_jax.evaluation.requests import requests_for, target_variables, without_pairs

READ = np.array([[0.1, 0.9], [0.7, 0.2]], np.float32)
IS_ON = READ > 0.5
ALL = np.array([True, True])


def test_requests_are_each_attribute_and_all_at_once():
    names = [request.name for request in requests_for(("A", "B"))]
    assert names == ["A", "B", "A+B"]
    assert [request.name for request in requests_for(("A",))] == ["A"]


def test_pairs_come_between_and_are_not_drawn():
    names = [request.name for request in requests_for(("A", "B", "C"), pairs=True)]
    assert names == ["A", "B", "C", "A+B", "A+C", "B+C", "A+B+C"]
    assert without_pairs(names) == ["A", "B", "C", "A+B+C"]
    assert [request.name for request in requests_for(("A", "B"), pairs=True)] == ["A", "B", "A+B"]
    assert without_pairs(["A"]) == ["A"]


def test_strength_zero_changes_nothing():
    np.testing.assert_array_equal(target_variables(READ, IS_ON, 0.0, ALL), READ)


def test_strength_one_is_the_opposite_end():
    np.testing.assert_allclose(target_variables(READ, IS_ON, 1.0, ALL), [[1, 0], [0, 1]], atol=1e-6)


def test_half_strength_is_half_way():
    target = target_variables(READ, IS_ON, 0.5, ALL)
    np.testing.assert_allclose(target, [[0.55, 0.45], [0.35, 0.6]], atol=1e-6)


def test_beyond_one_extrapolates_as_upstream():
    # Upstream's `transform`: source 1 gets -scale, source 0 gets 1 + scale; the demo goes to 0.2.
    target = target_variables(READ, IS_ON, 1.2, ALL)
    np.testing.assert_allclose(target, np.where(IS_ON, -0.2, 1.2), atol=1e-6)


def test_attributes_that_are_not_edited_keep_what_was_read():
    target = target_variables(READ, IS_ON, 1.2, np.array([False, True]))
    np.testing.assert_array_equal(target[:, 0], READ[:, 0])
