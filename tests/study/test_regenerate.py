"""The whole way from configs to the results page, with two small methods on the tiny world."""

import csv
import dataclasses
import json
import pathlib
import shutil
import types

import numpy as np
import pytest
from PIL import Image

from reliability.tiny_world import EDITED_ATTRIBUTES, build_tiny_world
from sdflow_jax.evaluation import results_directory
from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.files import networks
from sdflow_jax.study import execution, independence
from sdflow_jax.study.pictures import remove_earlier
from sdflow_jax.study.plan import Settings, Study, plan_runs
from sdflow_jax.study.records import (
    RecordError,
    read_record,
    record_file,
    require_one_renderer,
    require_same_faces,
)
from sdflow_jax.study.regenerate import _found_everywhere, regenerate
from sdflow_jax.study.searches import Search
from sdflow_jax.study.tuning import plan_trials

SETTINGS = Settings(
    seeds=1,
    judges=("config",),
    num_faces=9,
    strengths=(0.0, 1.0),
    pairs=True,
    batch_size=4,
    num_samples=2,
    num_shown=2,
    num_resamples=20,
    overrides={"training.num_steps": 3, "training.sample_every": 0, "no.such.key": 1},
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    world = build_tiny_world(tmp_path_factory.mktemp("world"))
    files = world / "networks"
    # The same network as training and evaluation classifier: two random ones would agree on hardly any face.
    shutil.copy(files / "classifier.safetensors", files / "evaluation_classifier.safetensors")
    config = str(pathlib.Path(__file__).with_name("tiny_configs.py"))
    return Study(
        configs={name: f"{config}:{name}@{world}" for name in ("interfacegan", "styleflow")},
        methods={"interfacegan": "InterFaceGAN", "styleflow": "StyleFlow"},
        ablation={"styleflow": "nll"},
    )


@pytest.fixture(scope="module")
def results(study, tmp_path_factory):
    directory = tmp_path_factory.mktemp("figures")
    patch = pytest.MonkeyPatch()
    patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    (directory / "results").mkdir()
    (directory / "results" / "reading.md").write_text("Nothing can be learnt from this.\n")
    regenerate(study, SETTINGS, directory / "runs", directory / "results", jobs=2)
    patch.undo()
    return directory


def test_page_shows_every_picture_and_the_tables(results):
    page = (results / "results" / "README.md").read_text()
    tables = (results / "results" / "tables.md").read_text()
    files = [path for path in (results / "results").iterdir() if path.suffix in (".png", ".jpg")]
    names = {path.name for path in files}
    assert {"figure2_semantic_variables.png", "figure4_methods.png"} <= names
    assert "figure5_ablation.png" in names
    for request in (*EDITED_ATTRIBUTES, "all"):
        assert f"figure3_{request}.jpg" in names
    assert [name for name in names if name.startswith("figure6")] == ["figure6_all.jpg"]
    assert {"samples_shared_styleflow.jpg", "samples_independent_styleflow.jpg"} <= names
    for path in files:
        assert f"![{path.stem}]({path.name})" in tables
        with Image.open(path) as image:
            image.load()
    for title in ("InterFaceGAN", "StyleFlow", "## Ablation", "## Sampling"):
        assert title in tables
    assert "![figure4_methods](figure4_methods.png)" in page
    assert "## What it looks like" in page and "![figure3_all](figure3_all.jpg)" in page
    assert "## Is z independent of s?" in page and "| z, nonlinear |" in tables
    assert "## Reading\n\nNothing can be learnt from this.\n\n" in page
    assert "nan" not in page and "nan" not in tables


def test_probes_of_a_run_are_told_at_the_command_line(results, capsys):
    (flow,), (line,) = (
        (results / "runs").glob(f"{name}-seed1-*") for name in ("styleflow", "interfacegan")
    )
    independence.main([str(flow), "--num_faces=9"])
    told = capsys.readouterr().out.splitlines()
    assert told[0] == str(flow) and len(told) == 5
    assert told[1].startswith("  z (the flow's code), linear probe: ") and ", mean " in told[1]
    with pytest.raises(SystemExit, match="its method is no flow"):
        independence.main([str(line)])
    with pytest.raises(SystemExit, match="nowhere"):
        independence.main(["nowhere"])


def test_every_point_of_every_run_is_in_the_csv(study, results):
    with (results / "results" / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == set(study.configs)
    assert {row["strength"] for row in rows} == {"0", "1"}
    with (results / "results" / "areas.csv").open() as file:
        areas = list(csv.DictReader(file))
    assert len(areas) == 2 * 3 * 2  # methods, requests, measures
    for row in areas:
        assert float(row["low"]) <= float(row["high"])


def test_what_is_done_is_not_done_again(study, results, monkeypatch):
    def refuse(*arguments, **_):
        raise AssertionError(f"called again: {arguments}")

    monkeypatch.setattr(execution, "_call", refuse)
    regenerate(study, SETTINGS, results / "runs", results / "again")
    first, again = results / "results", results / "again"
    for name in ("points.csv", "areas.csv"):
        assert (first / name).read_bytes() == (again / name).read_bytes()


def test_records_alone_give_the_same_tables_and_curves(study, results, tmp_path, monkeypatch):
    shutil.copytree(results / "results", tmp_path / "results")
    (tmp_path / "results" / "areas.csv").unlink()
    drawn = (tmp_path / "results" / "figure3_all.jpg").read_bytes()
    monkeypatch.setattr(execution, "_call", lambda *_, **__: pytest.fail("computed"))
    assert regenerate(study, SETTINGS, tmp_path / "runs", tmp_path / "results")
    before, after = results / "results", tmp_path / "results"
    assert {file.name for file in after.iterdir()} == {file.name for file in before.iterdir()}
    for name in ("README.md", "tables.md", "points.csv", "areas.csv", "figure4_methods.png"):
        assert (after / name).read_bytes() == (before / name).read_bytes(), name
    assert (after / "figure3_all.jpg").read_bytes() == drawn  # needs networks
    of_others = tmp_path / "results" / "figure3_Young.jpg"
    with Image.open(of_others) as image:
        image.save(of_others, comment="another-run")
    assert regenerate(study, SETTINGS, tmp_path / "runs", tmp_path / "results")
    assert not of_others.exists() and "figure3_Young" not in (after / "tables.md").read_text()


def test_records_of_pairs_serve_those_who_ask_for_none(study, results):
    (run, *_) = plan_runs(study, SETTINGS, results / "runs")
    file = record_file(results / "results", run)
    fewer = dataclasses.replace(SETTINGS, pairs=False)
    asked = read_record(file, run, fewer).outcomes["config"]
    every = read_record(file, run, SETTINGS).outcomes["config"]
    assert set(asked) == {x for x in every if x.count("+") != 1 or len(EDITED_ATTRIBUTES) == 2}


def test_a_record_of_an_earlier_evaluation_is_written_again(study, results, tmp_path):
    shutil.copytree(results / "runs", tmp_path / "runs")
    (run, *_) = plan_runs(study, SETTINGS, tmp_path / "runs")
    file = run.workdir / "evaluation" / "summary.json"
    summary = json.loads(file.read_text())
    file.write_text(json.dumps({**summary, "seconds": -1.0}))
    assert regenerate(study, SETTINGS, tmp_path / "runs", tmp_path / "results")
    record = read_record(record_file(tmp_path / "results", run), run, SETTINGS)
    assert record.summaries["config"]["seconds"] == -1.0


def test_faces_of_two_renderers_are_not_compared():
    def record(renderer):
        return types.SimpleNamespace(summaries={"config": {}, "external": {"renderer": renderer}})

    require_one_renderer({"a": [record("x"), record("x")], "b": [record("x")]})
    with pytest.raises(RecordError, match="of one generator for a, seed 1 and of another for b"):
        require_one_renderer({"a": [record("x")], "b": [record("x"), record("")]})


def test_trainings_that_count_different_faces_are_not_averaged():
    def record(*is_counted):
        outcome = types.SimpleNamespace(is_counted=np.array(is_counted), num_faces=sum(is_counted))
        return types.SimpleNamespace(outcomes={"config": {"Young": outcome}})

    require_same_faces({"a": [record(True, True)] * 2, "b": [record(True, False)]})
    with pytest.raises(RecordError, match=r"Young, judges config: seed 3 of a .* \(1 and 2\)"):
        require_same_faces({"a": [*[record(True, True)] * 2, record(True, False)]})


def test_records_of_other_settings_are_not_taken(study, results, tmp_path, monkeypatch):
    asked = []

    def begin(directory, step, *_, **__):
        asked.append(step)
        raise execution.Stopped(step)

    monkeypatch.setattr(execution, "_call", begin)
    for other in ({"num_faces": 8}, {"split": "validation"}, {"strengths": (0.0, 2.0)}):
        with pytest.raises(execution.Stopped):
            settings = dataclasses.replace(SETTINGS, **other)
            regenerate(study, settings, tmp_path / "runs", results / "results")
    assert asked == ["faces"] * 3


@pytest.mark.parametrize("damage", ["cut", "text"])
def test_a_damaged_record_is_named(study, results, tmp_path, damage):
    shutil.copytree(results / "results" / "records", tmp_path / "records")
    (file, *_) = sorted((tmp_path / "records").iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"no record")
    with pytest.raises(RecordError, match=f"{file.name}: no record, or a damaged one"):
        regenerate(study, SETTINGS, tmp_path / "runs", tmp_path)


def test_steps_of_judges_that_nobody_asked_for_do_not_count(study, results, tmp_path):
    (run, *_) = plan_runs(study, SETTINGS, tmp_path)
    with np.load(record_file(results / "results", run)) as file:
        arrays = dict(file)
    notes = json.loads(arrays["notes"].item())
    counted = dict(notes["core_seconds"])
    notes["core_seconds"][f"evaluate {run.workdir.name} external"] = 9.0
    np.savez(tmp_path / "record.npz", **{**arrays, "notes": np.array(json.dumps(notes))})
    assert read_record(tmp_path / "record.npz", run, SETTINGS).core_seconds == counted


def test_everything_is_computed_anew_on_demand(study, results, tmp_path, monkeypatch):
    def begin(*_, **__):
        raise execution.Stopped("begun")

    monkeypatch.setattr(execution, "_call", begin)
    with pytest.raises(execution.Stopped, match="begun"):
        regenerate(study, SETTINGS, tmp_path / "runs", results / "results", is_anew=True)


def test_interrupted_training_is_not_taken_for_a_finished_one(study, tmp_path, monkeypatch):
    # train.py exits with status 0 after Ctrl-C, and has exported nothing.
    monkeypatch.setattr(execution, "_call", lambda *_, **__: None)
    with pytest.raises(execution.Stopped, match="the same command continues"):
        regenerate(study, SETTINGS, tmp_path / "runs", tmp_path / "results")


def test_no_run_begins_after_one_that_failed(study, tmp_path, monkeypatch):
    begun = []

    def fail(directory, step, cores, *arguments, **_):
        assert cores  # a process without a core would never start
        if step != "faces":
            begun.append(step)
            raise execution.Stopped(step)

    monkeypatch.setattr(execution, "_call", fail)
    monkeypatch.setattr(execution, "own_cores", lambda: {3, 5})
    runs = plan_runs(study, dataclasses.replace(SETTINGS, seeds=4), tmp_path)
    with pytest.raises(execution.Stopped):
        execution.carry_out(runs, SETTINGS, tmp_path, jobs=3)
    assert len(begun) <= 3 < len(runs)


@pytest.mark.parametrize("jobs", [1, 2])
def test_data_set_is_built_once_before_all_and_every_training_begins_once(
    study, tmp_path, monkeypatch, jobs
):
    begun, told = [], []

    def fail(directory, step, cores, *arguments, **_):
        begun.append(step)
        if step != "faces":
            raise execution.Failed(step)

    monkeypatch.setattr(execution, "_call", fail)
    runs = plan_runs(study, SETTINGS, tmp_path)

    def carry_out(runs):
        return execution.carry_out(
            runs, SETTINGS, tmp_path, jobs=jobs, failed=lambda run, error: told.append(run)
        )

    assert not carry_out(runs)
    assert begun[0] == "faces"
    assert sorted(begun[1:]) == sorted(f"train {run.workdir.name}" for run in runs)
    assert len(told) == len(runs)
    assert carry_out([])


def test_nothing_is_trained_without_the_faces(study, tmp_path, monkeypatch):
    begun, told = [], []

    def fail(directory, step, cores, *arguments, **_):
        begun.append(step)
        raise execution.Failed("DataError: no faces")

    monkeypatch.setattr(execution, "_call", fail)
    runs = plan_runs(study, SETTINGS, tmp_path)
    with pytest.raises(execution.Failed, match="no faces"):
        execution.carry_out(runs, SETTINGS, tmp_path, jobs=2)
    assert not execution.carry_out(
        runs, SETTINGS, tmp_path, failed=lambda run, error: told.append(run)
    )
    assert set(begun) == {"faces"} and told == runs


def test_times_of_attempts_add_up_whatever_their_cores(study, tmp_path, monkeypatch):
    (run, *_) = plan_runs(study, SETTINGS, tmp_path)
    name = run.workdir.name
    earlier = {
        "faces": [1, 2, 2],
        f"train {name}": [10, 4, 40],
        f"evaluate {name} config": [7, 2, 14],
    }
    (tmp_path / "times.json").write_text(json.dumps(earlier))
    (tmp_path / "short.py").write_text("import time; time.sleep(0.3)")
    monkeypatch.setattr(execution, "ROOT", tmp_path)
    execution._call(tmp_path, f"train {name}", {min(execution.own_cores())}, "short.py")
    seconds = execution.training_seconds(tmp_path, run)
    spent = execution.core_seconds_spent(tmp_path, [run])
    assert spent["faces"] == 2 and spent[f"evaluate {name} config"] == 14
    assert seconds > 10 and spent[f"train {name}"] == pytest.approx(40 + seconds - 10, abs=0.2)


def test_times_of_splits_are_told_apart(study, tmp_path):
    (run, *_) = plan_runs(study, SETTINGS, tmp_path)
    name = f"evaluate {run.workdir.name} config"
    times = tmp_path / "times.json"
    times.write_text(json.dumps({name: [7, 2, 14], f"{name} validation": [5, 1, 6]}))
    assert execution.core_seconds_spent(tmp_path, [run]) == {name: 14}
    assert execution.seconds_spent(tmp_path, run, "validation") == 5
    times.write_text(json.dumps({name: [7, 2, 14]}))
    assert execution.seconds_spent(tmp_path, run, "validation") is None


def test_faces_lost_after_an_edit_are_left_out_of_every_methods_readings():
    def outcome(lost):
        readings = np.full((3, 2, 2), 0.5)
        readings[lost, 1] = np.nan
        numbers = np.arange(6.0).reshape(3, 2)
        return {
            "Young": EditOutcomes(
                *(np.array([0.0, 1.0]), numbers, numbers, numbers, numbers, 0),
                *(np.ones(3, bool), readings, readings[:, 0]),
            )
        }

    found = _found_everywhere({"a": [outcome([])], "b": [outcome([1])]})
    for (seed,), name in zip(found.values(), "ab", strict=True):
        assert seed["Young"].success.tolist() == [[0, 1], [4, 5]], name
        assert np.isfinite(seed["Young"].readings).all() and seed["Young"].was_on.shape == (2,)


def test_pictures_of_an_earlier_page_go_and_others_stay(tmp_path):
    earlier = ("figure3_Old.jpg", "figure4_methods_external.png", "samples_shared_old.jpg")
    others = ("figure_mine.svg", "figure_mine.png", "figure3_Old.svg", "samples_mine.png")
    present = ("figure5_ablation.png", "figure3_Young.jpg")
    for name in (*earlier, *others, *present):
        (tmp_path / name).touch()
    remove_earlier(tmp_path, present)
    assert {file.name for file in tmp_path.iterdir()} == {*others, *present}


def test_cores_are_dealt_out_among_the_jobs():
    assert execution._dealt({4, 1, 7, 2}, 2) == [{1, 4}, {2, 7}]
    assert execution._dealt({0, 1}, 3) == [{0}, {1}, {0}]


def test_seeds_of_the_comparison_are_none_that_settings_were_chosen_by(study, tmp_path):
    settings = dataclasses.replace(SETTINGS, seeds=3)
    runs = plan_runs(study, settings, tmp_path)
    assert {run.seed for run in runs} == {1, 2, 3}
    searches = {"styleflow": Search(study.configs["styleflow"], listed=({},))}
    (trial,) = plan_trials(searches, settings, tmp_path)
    assert trial.run.seed == 0 and trial.run.workdir not in {run.workdir for run in runs}


def test_second_judges_see_the_methods_compared(study, tmp_path):
    settings = dataclasses.replace(SETTINGS, judges=("config", "external"))
    other = dataclasses.replace(
        study, configs={**study.configs, "variant": study.configs["styleflow"]}
    )
    seen = {(run.method, run.seed): run.judges for run in plan_runs(other, settings, tmp_path)}
    assert seen["styleflow", 1] == ("config", "external")
    assert seen["variant", 1] == ("config",)
    fewer = dataclasses.replace(settings, seeds=3, seeds_external=2)
    seen = {(run.method, run.seed): run.judges for run in plan_runs(other, fewer, tmp_path)}
    assert seen["styleflow", 2] == ("config", "external") and seen["styleflow", 3] == ("config",)
    alone = dataclasses.replace(fewer, judges=("external",))
    assert all(run.judges == ("external",) for run in plan_runs(other, alone, tmp_path))
    alone = dataclasses.replace(settings, judges=("external",))
    assert all(run.judges == ("external",) for run in plan_runs(other, alone, tmp_path))


def test_second_judges_may_see_fewer_trainings(study, results, tmp_path):
    """The first training with the readings of both juries, the second with those of one."""
    settings = dataclasses.replace(
        SETTINGS, seeds=2, judges=("config", "external"), seeds_external=1
    )
    for run in plan_runs(study, settings, tmp_path):
        with np.load(record_file(results / "results", _of_seed_1(run, study, tmp_path))) as file:
            arrays = dict(file)
        notes = json.loads(arrays["notes"].item())
        if run.seed == 1:
            summary = notes["summaries"]["config"]
            notes["summaries"]["external"] = {
                **summary,
                "agreement": {
                    "unedited": {"num_faces": summary["num_faces"], "identity_correlation": None}
                },
            }
            arrays |= {
                f"external/{key.partition('/')[2]}": value
                for key, value in arrays.items()
                if key.startswith("config/")
            }
        else:
            notes["device"], notes["edit_milliseconds"] = "another", 1e9
        file = record_file(tmp_path, run)
        file.parent.mkdir(exist_ok=True)
        np.savez(file, **{**arrays, "notes": np.array(json.dumps(notes))})
    assert regenerate(study, settings, tmp_path / "runs", tmp_path)
    rows = list(csv.DictReader((tmp_path / "areas.csv").read_text().splitlines()))
    assert {(row["judge"], row["seeds"]) for row in rows} == {("config", "2"), ("external", "1")}
    page = (tmp_path / "README.md").read_text()
    assert "age and gender networks, 9 faces under the first training of each method" in page
    assert "1000000000" not in page and "both on processor cores" in page  # one device's times


def _of_seed_1(run, study, directory):
    (found,) = (x for x in plan_runs(study, SETTINGS, directory) if x.method == run.method)
    return found


def test_how_many_faces_a_call_takes_asks_for_no_other_evaluation(study, tmp_path):
    (run, *_) = plan_runs(study, SETTINGS, tmp_path)
    summary = {
        "settings": dataclasses.asdict(execution.evaluation_settings(SETTINGS, "config")),
        "pairs": True,
        "split": SETTINGS.split,
        "judge_files": {role: networks.digest(file) for role, file in run.judge_files.items()},
    }
    summary["settings"]["strengths"] = [*SETTINGS.strengths]
    for changed, is_same in (({"batch_size": 99}, True), ({"num_faces": 8}, False)):
        other = dataclasses.replace(SETTINGS, **changed)
        assert execution.is_judged(summary, run, "config", other) == is_same


def test_another_judge_asks_for_another_evaluation(study, tmp_path):
    (run, *_) = plan_runs(study, SETTINGS, tmp_path)
    summary = results_directory(run.workdir, "config") / "summary.json"
    summary.parent.mkdir(parents=True)
    wanted = dataclasses.asdict(execution.evaluation_settings(SETTINGS, "config"))
    digests = {role: networks.digest(file) for role, file in run.judge_files.items()}
    entries = {"settings": wanted, "split": SETTINGS.split, "judge_files": digests}
    summary.write_text(json.dumps(entries))
    assert not execution.is_evaluated(run, "config", SETTINGS)  # which asks for pairs, too
    summary.write_text(json.dumps({**entries, "pairs": True}))
    assert execution.is_evaluated(run, "config", SETTINGS)
    changed = {**run.judge_files, "identity_encoder": run.judge_files["evaluation_classifier"]}
    assert not execution.is_evaluated(
        dataclasses.replace(run, judge_files=changed), "config", SETTINGS
    )


def test_other_weights_or_settings_are_another_run(study, tmp_path):
    def workdirs(settings):
        return [run.workdir.name for run in plan_runs(study, settings, tmp_path)]

    before = workdirs(SETTINGS)
    assert before == workdirs(SETTINGS)
    changed = Settings(**{**vars(SETTINGS), "overrides": {"training.num_steps": 4}})
    assert not set(workdirs(changed)) & set(before)
    assert "no.such.key" not in plan_runs(study, SETTINGS, tmp_path)[0].overrides
    world = pathlib.Path(study.configs["styleflow"].partition("@")[2])
    classifier = world / "networks" / "classifier.safetensors"
    kept = classifier.read_bytes()
    classifier.write_bytes(kept + b" ")
    try:
        assert not set(workdirs(SETTINGS)) & set(before)
    finally:
        classifier.write_bytes(kept)
