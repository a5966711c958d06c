import numpy as np
import pytest

from sdflow_jax.evaluation import Request, observe_faces
from sdflow_jax.study.pairs import READING, asked_for, count, edit_to_reading, main, read_answers
from tests.evaluation.plain_setup import COLUMNS, TurningEditor, plain_faces, plain_setup

KEY = [
    {"pair": "1", "A": "ours", "B": "other"},
    {"pair": "2", "A": "other", "B": "ours"},
    {"pair": "3", "A": "ours", "B": "other"},
]


def test_the_least_certain_of_what_was_asked_counts():
    probabilities = np.array([[0.9, 0.2, 0.7], [0.9, 0.2, 0.7]])
    is_on = np.array([[False, True], [True, False]])
    np.testing.assert_allclose(asked_for(probabilities, is_on, [0, 2]), [0.3, 0.1])


def test_both_edits_end_at_the_same_reading():
    setup, method = plain_setup(), TurningEditor()
    items = plain_faces(np.random.default_rng(0).uniform(0.05, 0.95, (6, 3)))
    faces, _ = observe_faces(
        setup, method, items, num_faces=6, num_shown=1, prediction_columns=COLUMNS, batch_size=3
    )
    found = edit_to_reading(setup, method, faces, Request("Young", ("Young",)))
    assert found.is_there.all() and found.latents.shape == (6, 2, 4)
    np.testing.assert_allclose(found.readings, READING, atol=0.01)
    young = (found.latents[:, 0, 2] + 1) / 2
    np.testing.assert_allclose(np.where(faces.is_on[:, 0], 1 - young, young), READING, atol=0.01)


def test_answers_are_counted_by_method_and_not_by_side(tmp_path):
    (tmp_path / "anna.csv").write_text("pair,person,real\n1,A,=\n2,b,A\n3,A,A\n")
    (tmp_path / "ben.csv").write_text("pair,person,real\n1,B,A\n2,B,A\n3,A,A\n")
    observers = {x: read_answers(tmp_path / f"{x}.csv") for x in ("anna", "ben")}
    lines = count(KEY, observers).splitlines()
    # 3 of 3: the exact interval begins at 0.025^(1/3).
    assert "| keeps the person better | anna | 3 | 0 | 0 | 100% [29%, 100%] |" in lines
    assert "| keeps the person better | ben | 2 | 1 | 0 | 67% [9%, 99%] |" in lines
    assert "| keeps the person better | majority | 2 | 0 | 1 | 100% [16%, 100%] |" in lines
    assert "| looks more real | anna | 1 | 1 | 1 | 50% [1%, 99%] |" in lines


def test_answer_that_is_none_is_refused(tmp_path):
    answers = tmp_path / "x.csv"
    answers.write_text("pair,person,real\n1,C,A\n")
    with pytest.raises(ValueError, match="expected a pair and A, B or ="):
        read_answers(answers)
    (tmp_path / "key.csv").write_text("pair,A,B\n1,ours,other\n")
    with pytest.raises(SystemExit, match="ValueError"):
        main(["count", f"--key={tmp_path / 'key.csv'}", str(answers)])
