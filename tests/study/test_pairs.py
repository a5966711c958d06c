import numpy as np
import pytest

from sdflow_jax.evaluation import Request, observe_faces
from sdflow_jax.files.config_files import read_config
from sdflow_jax.files.run_config import save_config, to_json
from sdflow_jax.study.pairs import (
    READING,
    asked_for,
    count,
    edit_to_reading,
    main,
    read_answers,
    read_observers,
    write_pairs,
)
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


def test_mistakes_are_told_in_a_line(tmp_path):
    words = ["make", f"--out={tmp_path}/out", f"--key={tmp_path}/key.csv", f"--other={tmp_path}"]
    with pytest.raises(SystemExit, match=r"FileNotFoundError: .*nowhere"):
        main([*words, f"--ours={tmp_path}/nowhere"])
    config = read_config("configs/pocket.py")
    config.networks.evaluation_classifier = ""  # as in configs/ffhq.py
    save_config(tmp_path, to_json(config))
    with pytest.raises(
        SystemExit, match=r"evaluation_classifier must be a network file.*--network"
    ):
        main([*words, f"--ours={tmp_path}"])
    with pytest.raises(SystemExit, match="--network=judge: expected ROLE=FILE"):
        main([*words, f"--ours={tmp_path}", "--network=judge"])


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
    assert "| keeps the person better | anna | 3 | 0 | 0 | – | 100% [29%, 100%] |" in lines
    assert "| keeps the person better | ben | 2 | 1 | 0 | – | 67% [9%, 99%] |" in lines
    assert "| keeps the person better | majority | 2 | 0 | 0 | 1 | 100% [16%, 100%] |" in lines
    assert "| looks more real | anna | 1 | 1 | 1 | – | 50% [1%, 99%] |" in lines


def test_majority_is_more_than_half_of_all_answers_and_may_be_equal():
    def observer(person):
        return {pair: {"person": x, "real": "="} for pair, x in zip((1, 2, 3), person, strict=True)}

    # Ours: one of five; two of five, as many as for =; three of five.
    answers = ("ABA", "=BA", "==A", "==B", "=AB")
    lines = count(KEY, {f"{i}": observer(x) for i, x in enumerate(answers)}).splitlines()
    assert "| keeps the person better | majority | 1 | 0 | 1 | 1 | 100% [3%, 100%] |" in lines


def test_files_of_one_name_are_two_observers(tmp_path):
    paths = [tmp_path / name / "answers.csv" for name in ("anna", "ben")]
    for path in paths:
        path.parent.mkdir()
        path.write_text("pair,person,real\n1,A,=\n")
    assert list(read_observers(paths)) == [str(path) for path in paths]
    assert list(read_observers(paths[:1])) == ["answers"]
    with pytest.raises(ValueError, match="ben.answers.csv: the file is given twice"):
        read_observers([*paths, paths[1].parent / ".." / "ben" / "answers.csv"])
    named = tmp_path / "majority.csv"
    named.write_text("pair,person,real\n1,A,=\n")
    assert list(read_observers([named])) == [str(named)]


def test_answers_saved_by_excel_are_read(tmp_path):
    answers = tmp_path / "x.csv"
    answers.write_text("pair,person,real\r\n1,A,=\r\n", encoding="utf-8-sig", newline="")
    assert read_answers(answers) == {1: {"person": "A", "real": "="}}


def test_pair_that_is_answered_twice_is_refused(tmp_path):
    answers = tmp_path / "x.csv"
    answers.write_text("pair,person,real\n1,A,A\n01,B,A\n")
    with pytest.raises(ValueError, match="x.csv: pair 1 is answered twice"):
        read_answers(answers)


def test_no_key_lies_beside_pictures_of_another(tmp_path):
    picture, key = np.zeros((2, 2, 3), np.uint8), tmp_path / "key.csv"
    rows = [[number, 0, "Young", "ours", "other", "0.9", "0.9"] for number in (1, 2)]
    write_pairs([picture] * 2, rows, tmp_path, key)
    (tmp_path / "pair_of_shoes.png").touch()
    assert key.read_text().splitlines()[2] == "2,0,Young,ours,other,0.9,0.9"

    def interrupted():
        yield picture
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pairs(interrupted(), rows, tmp_path, key)
    assert {file.name for file in tmp_path.iterdir()} == {"pair01.png", "pair_of_shoes.png"}


def test_answer_that_is_none_is_refused(tmp_path):
    answers = tmp_path / "x.csv"
    answers.write_text("pair,person,real\n1,C,A\n")
    with pytest.raises(ValueError, match="expected a pair and A, B or ="):
        read_answers(answers)
    (tmp_path / "key.csv").write_text("pair,A,B\n1,ours,other\n")
    with pytest.raises(SystemExit, match="ValueError"):
        main(["count", f"--key={tmp_path / 'key.csv'}", str(answers)])
