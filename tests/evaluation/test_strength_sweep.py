import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.evaluation import (
    EvaluationError,
    EvaluationSetup,
    Request,
    observe_faces,
    sweep,
)
from sdflow_jax.evaluation.report import points_csv, summarize
from tests.evaluation.plain_setup import (
    COLUMNS,
    JUDGED,
    LosingJudges,
    PixelGenerator,
    TurningEditor,
    plain_faces,
    plain_setup,
)

# Eyeglasses, Male, Young.
ATTRIBUTES = [[0.0, 1.0, 0.0], [0.0, 1.0, 0.4], [1.0, 0.0, 0.8], [1.0, 0.0, 1.0], [0.0, 1.0, 0.2]]
YOUNG = Request("Young", ("Young",))
BOTH = Request("both", ("Young", "Eyeglasses"))


def observed(setup, method, faces, batch_size=2):
    return observe_faces(
        setup,
        method,
        faces,
        num_faces=len(faces),
        num_shown=3,
        prediction_columns=COLUMNS,
        batch_size=batch_size,
    )


@pytest.fixture(scope="module")
def setup():
    return plain_setup()


@pytest.fixture(scope="module")
def faces(setup):
    return observed(setup, TurningEditor(), plain_faces(ATTRIBUTES))[0]


def run(setup, faces, request, strengths, **options):
    return sweep(
        setup, TurningEditor(), faces, request, strengths=strengths, batch_size=2, **options
    )


def test_accuracy_counts_faces_past_one_half(setup, faces):
    outcome = run(setup, faces, YOUNG, (0.0, 0.3, 0.45, 0.55))
    # A face at s crosses one half at strength |0.5 - s| / |end - s|: 1/2, 1/6, 3/8, 1/2, 3/8.
    expected = [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 1, 0, 1], [1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(outcome.success.T, expected)
    assert outcome.num_faces == 5 and outcome.num_excluded == 0


def test_identity_is_the_cosine_to_the_reconstruction(setup, faces):
    outcome = run(setup, faces, YOUNG, (0.0, 0.3))
    moved = 0.3 * np.array([1.0, 0.6, 0.8, 1.0, 0.8])  # of the way to the opposite end
    expected = np.stack([np.ones(5), np.cos(np.pi / 3 * moved)], 1)
    np.testing.assert_allclose(outcome.identity, expected, atol=1e-5)
    # The originals are stored with 8 bits, so their embeddings differ in the third decimal at most.
    np.testing.assert_allclose(outcome.identity_original, expected, atol=5e-3)


def test_attribute_preservation_leaves_out_what_was_asked_for(setup, faces):
    np.testing.assert_array_equal(run(setup, faces, YOUNG, (0.9,)).attributes, 1.0)


def test_all_attributes_of_a_combined_edit_must_change(setup, faces):
    outcome = run(setup, faces, BOTH, (0.45, 0.55))
    np.testing.assert_array_equal(outcome.success.T, [[0] * 5, [1] * 5])  # eyeglasses flip at 1/2
    assert outcome.was_on is None


def test_readings_are_kept_before_and_after(setup, faces):
    outcome = run(setup, faces, YOUNG, (0.0, 1.0))
    np.testing.assert_allclose(outcome.readings[:, 0], outcome.readings_before, atol=1e-6)
    young = outcome.readings[:, 1, 2]  # the opposite end
    np.testing.assert_allclose(young, 1.0 - outcome.was_on, atol=1e-6)
    np.testing.assert_allclose(
        outcome.readings[:, 1, :2], outcome.readings_before[:, :2], atol=1e-6
    )


def test_sweep_stops_once_accurate_enough(setup, faces):
    outcome = run(setup, faces, YOUNG, (0.3, 0.45, 0.55, 1.0), stop_at=0.6)
    np.testing.assert_array_equal(outcome.strengths, [0.3, 0.45])


def test_sweep_stops_where_faces_fall_apart(setup, faces):
    # Strengths that do not rise, for an accuracy that falls: all are turned, then one.
    outcome = run(setup, faces, YOUNG, (1.0, 0.3, 1.0), stop_at=2.0)
    np.testing.assert_array_equal(outcome.strengths, [1.0, 0.3])
    np.testing.assert_array_equal(outcome.success.T, [[1] * 5, [0, 1, 0, 0, 0]])


def test_batch_size_does_not_change_the_numbers(setup, faces):
    other, _ = observed(setup, TurningEditor(), plain_faces(ATTRIBUTES), batch_size=5)
    a = run(setup, faces, YOUNG, (0.3, 0.45))
    b = sweep(setup, TurningEditor(), other, YOUNG, strengths=(0.3, 0.45), batch_size=4)
    np.testing.assert_allclose(a.identity, b.identity, atol=1e-6)
    np.testing.assert_array_equal(a.success, b.success)


def test_faces_on_which_the_classifiers_disagree_are_not_counted(setup):
    items = plain_faces(ATTRIBUTES)
    items[1]["predictions"] = np.array([0.0, 1.0, 0.9], np.float32)  # the judge reads 0.4
    faces, _ = observed(setup, TurningEditor(), items)
    outcome = run(setup, faces, YOUNG, (0.0, 0.45))
    assert outcome.num_excluded == 1
    np.testing.assert_array_equal(outcome.is_counted, [True, False, True, True, True])
    np.testing.assert_array_equal(outcome.success.T, [[0, 0, 0, 0], [0, 1, 0, 1]])
    np.testing.assert_array_equal(outcome.was_on, [False, True, True, False])


@pytest.mark.filterwarnings("error")
def test_faces_that_are_no_longer_found_are_no_success_and_keep_nothing():
    losing = EvaluationSetup(PixelGenerator(), LosingJudges())
    faces, _ = observed(losing, TurningEditor(), plain_faces(ATTRIBUTES))
    outcome = run(losing, faces, YOUNG, (0.55, 1.0), stop_at=2.0)
    assert outcome.num_excluded == 1  # the fourth, which is not found unedited either
    np.testing.assert_array_equal(outcome.was_on, [False, False, True, False])
    # At strength 1 all but the third are edited until no face is left.
    np.testing.assert_array_equal(outcome.success.T, [[1, 1, 1, 1], [0, 0, 1, 0]])
    np.testing.assert_array_equal(outcome.attributes.T, [[1, 1, 1, 1], [0, 0, 1, 0]])
    assert (outcome.identity[:, 0] > 0.5).all() and (outcome.identity_original[:, 0] > 0.5).all()
    np.testing.assert_array_equal(outcome.identity[:, 1] > 0.5, [False, False, True, False])
    np.testing.assert_array_equal(outcome.identity[[0, 1, 3], 1], 0.0)
    assert np.isnan(outcome.readings[[0, 1, 3], 1]).all()
    # What the reconstruction keeps is of the four faces whose originals are found.
    outcomes = {"Young": outcome}
    summary = summarize(outcomes, faces, attributes=("Young",), judged_attributes=JUDGED)
    assert summary["reconstruction"]["identity"] == pytest.approx(1.0, abs=1e-3)
    assert set(summary["reconstruction"]["attribute_agreement"].values()) == {1.0}
    assert "nan" not in points_csv(outcomes)


def test_disagreement_on_every_face_is_an_error(setup):
    items = [{**item, "predictions": 1 - item["predictions"]} for item in plain_faces(ATTRIBUTES)]
    faces, _ = observed(setup, TurningEditor(), items)
    with pytest.raises(EvaluationError, match="disagree on all 5 faces"):
        run(setup, faces, YOUNG, (1.0,))


def test_attribute_without_a_judge_is_an_error(setup, faces):
    with pytest.raises(EvaluationError, match=r"they cannot judge an edit of Hat"):
        run(setup, faces, Request("Hat", ("Hat",)), (1.0,))


class FailingEditor(TurningEditor):
    def decode(self, code, semantic_variables):
        edited = super().decode(code, semantic_variables)
        return jnp.where(semantic_variables[:, :1, None] > 1.0, jnp.nan, edited)


def test_edit_that_failed_is_never_counted_as_an_edit(setup, faces):
    with pytest.raises(FloatingPointError, match=r"Young.*could not be computed"):
        sweep(setup, FailingEditor(), faces, YOUNG, strengths=(1.1, 1.2), batch_size=5)


def test_curve_ends_before_an_edit_that_failed(setup, faces):
    outcome = sweep(setup, FailingEditor(), faces, YOUNG, strengths=(0.1, 0.2, 1.1), batch_size=5)
    assert outcome.strengths.tolist() == [0.1, 0.2]
    assert outcome.success.shape[1] == 2
    assert np.isfinite(outcome.identity).all()


def test_no_faces_is_an_error(setup):
    with pytest.raises(EvaluationError, match="no face"):
        observed(setup, TurningEditor(), [])
