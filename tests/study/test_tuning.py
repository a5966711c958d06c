"""Trials, from the plan to the table of chosen settings, with a small method on the tiny world."""

import dataclasses
import json
import pathlib
import shutil
import time

import pytest
from PIL import Image

from reliability.tiny_world import build_tiny_world
from sdflow_jax.study import execution, tuning
from sdflow_jax.study.searches import NUM_TRIALS, Between, Search
from sdflow_jax.study.trials_table import choose, chosen_settings, read_table

SETTINGS = dataclasses.replace(
    tuning.TRIALS, num_faces=6, batch_size=6, strengths=(0.0, 1.0), overrides={}
)


@pytest.fixture(scope="module")
def searches(tmp_path_factory):
    world = build_tiny_world(tmp_path_factory.mktemp("world"))
    files = world / "networks"
    shutil.copy(files / "classifier.safetensors", files / "evaluation_classifier.safetensors")
    config = str(pathlib.Path(__file__).with_name("tiny_configs.py"))
    trials = ({}, {"interfacegan.penalty": 0.1})
    return {
        "interfacegan": Search(f"{config}:interfacegan@{world}", listed=trials),
        "other": Search(
            f"{config}:interfacegan@{world}", {"interfacegan.penalty": Between(10, 1000)}
        ),
    }


@pytest.fixture(scope="module")
def tuned(searches, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tuned")
    patch = pytest.MonkeyPatch()
    patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    wanted = {"interfacegan": {0, 1}}
    problems = tuning.tune(
        searches, SETTINGS, directory / "runs", directory / "tuning.csv", wanted=wanted
    )
    patch.undo()
    assert problems == []
    return directory


def test_table_tells_of_every_trial_and_which_is_chosen(tuned):
    rows = read_table(tuned / "tuning.csv")
    assert [(row["method"], row["trial"]) for row in rows] == [
        ("interfacegan", "0"),
        ("interfacegan", "1"),
    ]
    for row in rows:
        assert 0 <= float(row["reach Young"]) <= 1 and float(row["seconds"]) > 0
        assert float(row["score"]) <= 1 and row["note"] == ""
    (best,) = (row for row in rows if row["chosen"])
    assert float(best["score"]) == max(float(row["score"]) for row in rows)
    assert chosen_settings(tuned / "tuning.csv") == {"interfacegan": json.loads(best["settings"])}


def test_picture_of_every_trial_is_kept(tuned):
    for number in (0, 1):
        with Image.open(tuned / "runs" / "pictures" / f"interfacegan-trial{number}.jpg") as image:
            image.load()


def test_what_has_a_row_is_not_done_again_even_where_the_runs_are_gone(
    tuned, searches, tmp_path, monkeypatch
):
    monkeypatch.setattr(execution, "_call", lambda *_, **__: pytest.fail("called"))
    table = tmp_path / "tuning.csv"
    shutil.copy(tuned / "tuning.csv", table)
    wanted = {"interfacegan": {0, 1}}
    assert tuning.tune(searches, SETTINGS, tmp_path / "runs", table, wanted=wanted) == []
    assert table.read_bytes() == (tuned / "tuning.csv").read_bytes()


def test_nothing_begins_after_the_deadline(searches, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(execution, "_call", lambda *_, **__: pytest.fail("called"))
    table = tmp_path / "tuning.csv"
    past = time.monotonic()
    assert tuning.tune(searches, SETTINGS, tmp_path / "runs", table, deadline=past, jobs=2) == []
    assert not table.exists()
    assert f"{2 + NUM_TRIALS} trials are left" in capsys.readouterr().out


def test_settings_chosen_with_other_configs_are_told_from_the_present_ones(
    tuned, searches, tmp_path
):
    table = tuned / "tuning.csv"
    assert tuning.outdated_methods(searches, SETTINGS, table) == []
    harder = dataclasses.replace(SETTINGS, num_faces=SETTINGS.num_faces + 1)
    assert tuning.outdated_methods(searches, harder, table) == ["interfacegan"]


def test_training_that_diverges_is_an_outcome_and_any_other_mistake_a_problem(
    searches, tmp_path, monkeypatch
):
    def fail(directory, step, cores, *arguments, **_):
        if step == "faces":
            return
        reason = "TrainingDiverged: not finite" if "interfacegan-" in step else "OSError: full"
        raise execution.Failed(reason)

    monkeypatch.setattr(execution, "_call", fail)
    table = tmp_path / "tuning.csv"
    problems = tuning.tune(searches, SETTINGS, tmp_path / "runs", table)
    rows = read_table(table)
    assert [(row["method"], row["note"], row["score"], row["chosen"]) for row in rows] == [
        ("interfacegan", "TrainingDiverged", "", ""),
        ("interfacegan", "TrainingDiverged", "", ""),
    ]
    assert len(problems) == NUM_TRIALS and all("OSError: full" in words for words in problems)


def test_step_tells_in_its_log_and_its_last_line_is_the_reason(tmp_path, monkeypatch):
    script = tmp_path / "broken.py"
    script.write_text("print('begun')\nraise SystemExit('DataError: no faces')\n")
    monkeypatch.setattr(execution, "ROOT", tmp_path)
    with pytest.raises(execution.Failed, match="DataError: no faces"):
        execution._call(tmp_path, "step", execution.own_cores(), script.name, has_log=True)
    assert "DataError" in (tmp_path / "logs" / "step.log").read_text()


def test_first_trials_of_all_methods_come_first(searches, tmp_path):
    trials = tuning.plan_trials(searches, SETTINGS, tmp_path)
    assert [(trial.run.method, trial.number) for trial in trials[:5]] == [
        ("interfacegan", 0),
        ("other", 0),
        ("interfacegan", 1),
        ("other", 1),
        ("other", 2),
    ]
    assert len({trial.digest for trial in trials}) == len(trials) == 2 + NUM_TRIALS


def test_highest_score_is_chosen_of_complete_methods_alone():
    rows = [
        {"method": "a", "score": "0.5"},
        {"method": "a", "score": "0.7"},
        {"method": "a", "score": ""},
        {"method": "a", "score": "0.7"},
        {"method": "b", "score": "0.9"},
        {"method": "c", "score": ""},
    ]
    chosen = choose(rows, {"a": 4, "b": 2, "c": 1})
    assert [row["chosen"] for row in chosen] == ["", "yes", "", "", "", ""]


def test_trials_are_named_one_by_one_or_from_to(searches):
    named = tuning.read_wanted("other:2-4,interfacegan:1,other:0", searches)
    assert named == {"other": {0, 2, 3, 4}, "interfacegan": {1}}
    for wrong in ("other", "none:1", "other:x", "other:8", "other:3-2"):
        with pytest.raises(ValueError):
            tuning.read_wanted(wrong, searches)
