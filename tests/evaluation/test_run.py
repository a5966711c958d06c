import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from sdflow_jax.evaluation import (
    EvaluationSettings,
    EvaluationSetup,
    NetworkJudges,
    Request,
    evaluate,
    report,
    run,
    strength_sweep,
)
from sdflow_jax.evaluation.report import load_outcomes, table
from sdflow_jax.models.face_identity import FaceIdentity
from tests.evaluation.plain_setup import (
    COLUMNS,
    PixelClassifier,
    PixelGenerator,
    PixelIdentity,
    TurningEditor,
    plain_faces,
    plain_setup,
)

SETTINGS = EvaluationSettings(
    num_faces=30, strengths=(0.0, 0.3, 0.6, 1.0), batch_size=8, num_shown=3, num_resamples=50
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "evaluation"
    faces = plain_faces(np.random.default_rng(0).uniform(0, 1, (40, 3)))
    summary = evaluate(
        plain_setup(),
        TurningEditor(),
        faces,
        directory,
        prediction_columns=COLUMNS,
        settings=SETTINGS,
    )
    return directory, summary


def test_every_file_is_there_and_whole(results):
    directory, summary = results
    pictures = ["edits.png", "preservation.png", "semantic_variables.png", "sliders.png"]
    names = sorted(path.name for path in directory.iterdir())
    assert names == sorted([*pictures, "points.csv", "summary.json", "outcomes.npz", "faces.npz"])
    for name in pictures:
        with Image.open(directory / name) as image:
            image.load()
    assert json.loads((directory / "summary.json").read_text()) == summary


def test_points_hold_every_strength_that_was_measured(results):
    with (results[0] / "points.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["request"] == "Young"]
    assert [float(row["strength"]) for row in rows] == [0.0, 0.3, 0.6]  # all have turned by 0.6
    assert float(rows[0]["editing_accuracy"]) == 0 and float(rows[-1]["editing_accuracy"]) == 1
    assert float(rows[0]["identity_preservation"]) == pytest.approx(1, abs=1e-5)
    assert rows[0]["num_faces"] == "30"


def test_summary_interpolates_the_points(results):
    directory, summary = results
    with (directory / "points.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["request"] == "Young"]
    accuracy, identity = (
        [float(row[name]) for row in rows] for name in ("editing_accuracy", "identity_preservation")
    )
    found = summary["requests"]["Young"]["at_accuracy"]["80%"]
    expected = np.interp(0.8, accuracy, identity)
    assert found["identity_preservation"] == pytest.approx(expected, abs=1e-4)
    low, high = found["identity_preservation_95%"]
    assert low < expected < high


def test_every_face_comes_back_from_its_file(results):
    directory, summary = results
    outcomes = load_outcomes(directory / "outcomes.npz")
    assert list(outcomes) == list(summary["requests"])
    young, both = outcomes["Young"], outcomes["Young+Eyeglasses"]
    assert young.success.shape == young.identity.shape == (30, len(young.strengths))
    assert young.num_excluded == 0 and both.was_on is None
    assert young.is_counted.dtype == bool and young.is_counted.shape == (30,)
    assert young.is_counted.all()
    found = summary["requests"]["Young"]["highest_accuracy"]
    assert young.success.mean(0).max() == pytest.approx(found, abs=1e-4)
    with np.load(directory / "faces.npz") as faces:
        np.testing.assert_array_equal(young.was_on, faces["predictions"][:, 0] > 0.5)


def test_nothing_else_to_preserve_is_null_and_never_nan(results):
    # A judge that knows only the edited attribute sees no other that could be preserved.
    judges = NetworkJudges(
        PixelClassifier(), FaceIdentity(PixelIdentity()), attributes=("Eyeglasses",)
    )
    setup = EvaluationSetup(PixelGenerator(), judges)

    class GlassesEditor(TurningEditor):
        attributes = ("Eyeglasses",)

        def encode(self, w_plus, images):
            return w_plus, (w_plus[:, 0, :1] + 1) / 2

        def decode(self, code, semantic_variables):
            return code.at[:, 0, :1].set(2 * semantic_variables - 1)

    faces = plain_faces(np.random.default_rng(0).uniform(0, 1, (8, 3)))
    directory = results[0].parent / "alone"
    evaluate(setup, GlassesEditor(), faces, directory, prediction_columns=(0,), settings=SETTINGS)
    text = (directory / "summary.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the summary"))
    at = found["requests"]["Eyeglasses"]["at_accuracy"]["99%"]
    assert at["attribute_preservation"] is None and at["identity_preservation"] == pytest.approx(1)


def test_new_outcomes_never_stand_beside_an_older_summary(results, tmp_path, monkeypatch):
    directory = tmp_path / "evaluation"
    shutil.copytree(results[0], directory)
    save_arrays = report.save_arrays

    def save_one_and_be_killed(path, arrays):
        save_arrays(path, arrays)
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "save_arrays", save_one_and_be_killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(
            plain_setup(),
            TurningEditor(),
            plain_faces(np.random.default_rng(1).uniform(0, 1, (8, 3))),
            directory,
            prediction_columns=COLUMNS,
            requests=[Request("Young", ("Young",))],
            settings=SETTINGS,
        )
    assert list(load_outcomes(directory / "outcomes.npz")) == ["Young"]
    assert not (directory / "summary.json").exists()


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """Begins the evaluation of `results` in a directory, and is killed in the second edit."""

    def begin(setup=None, method=None, settings=SETTINGS, *, kill_at="Eyeglasses", faces=0):
        measured = []

        def sweep(setup, method, observed, request, **options):
            if request.name == kill_at:
                raise KeyboardInterrupt
            measured.append(request.name)
            return strength_sweep.sweep(setup, method, observed, request, **options)

        monkeypatch.setattr(run, "sweep", sweep)
        evaluate(
            setup or plain_setup(),
            method or TurningEditor(),
            plain_faces(np.random.default_rng(faces).uniform(0, 1, (40, 3))),
            tmp_path,
            prediction_columns=COLUMNS,
            settings=settings,
        )
        return measured

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert [file.name for file in tmp_path.iterdir()] == ["unfinished.npz"]
    return begin


def test_a_killed_evaluation_goes_on_with_the_same_results(killed, results, tmp_path):
    one_by_one = dataclasses.replace(SETTINGS, batch_size=1)
    assert killed(settings=one_by_one, kill_at=None) == ["Eyeglasses", "Young+Eyeglasses"]
    for name in ("points.csv", "outcomes.npz"):
        ours, theirs = (directory / name for directory in (tmp_path, results[0]))
        if name.endswith("npz"):
            ours, theirs = (report.outcome_arrays(load_outcomes(x)) for x in (ours, theirs))
            assert all(np.allclose(ours[key], theirs[key], atol=1e-6) for key in theirs)
        else:
            assert ours.read_text() == theirs.read_text()
    assert not (tmp_path / "unfinished.npz").exists()


@pytest.mark.parametrize(
    "changed", ["weights", "solver", "faces", "strengths", "damaged", "of another program"]
)
def test_what_another_evaluation_left_is_not_taken(killed, tmp_path, changed):
    options = {}
    if changed == "weights":
        options["method"] = TurningEditor()
        options["method"].weight = nnx.Param(np.ones(1))
    elif changed == "solver":
        options["method"] = TurningEditor()
        options["method"].solver = "another"
    elif changed == "faces":
        options["faces"] = 1
    elif changed == "strengths":
        options["settings"] = dataclasses.replace(SETTINGS, strengths=(0.0, 0.7))
    elif changed == "of another program":
        with np.load(tmp_path / "unfinished.npz") as file:
            arrays = {**file, "Young/unknown": np.ones(3)}
        np.savez(tmp_path / "unfinished.npz", **arrays)
    else:
        file = tmp_path / "unfinished.npz"
        file.write_bytes(file.read_bytes()[:-30])
    assert killed(kill_at=None, **options) == ["Young", "Eyeglasses", "Young+Eyeglasses"]


def test_table_has_a_line_per_request(results):
    lines = table(results[1]).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["Young", "Eyeglasses", "Young+Eyeglasses"]


@pytest.mark.parametrize(
    "strengths", [(), (0.5, 0.4), (-0.1, 1.0), (0.5, 0.5), (np.nan,), (0, np.inf)]
)
def test_strengths_must_rise_from_zero(strengths):
    with pytest.raises(ValueError, match="strengths must rise"):
        EvaluationSettings(strengths=strengths)
