"""Whole trainings of small classifiers, by what train.py does."""

import csv
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from sdflow_jax import Editor
from sdflow_jax.classifiers.measuring import make_predict
from sdflow_jax.classifiers.metrics import score_answers
from sdflow_jax.data.image_source import DataError
from sdflow_jax.data.labeled_pictures import open_labeled_pictures
from sdflow_jax.files.networks import load_network, read_metadata
from sdflow_jax.files.roles import check_roles
from sdflow_jax.files.run_config import ConfigError, to_json
from sdflow_jax.methods import run as command
from sdflow_jax.training.checkpoint import RunCheckpointError
from sdflow_jax.training.interrupts import Interrupts
from sdflow_jax.training.metrics_log import TrainingDiverged
from tests.classifiers.patches import (
    ATTRIBUTES,
    SPLITS,
    patches_config,
    small_networks,
    write_patches,
)


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    with small_networks():
        yield write_patches(tmp_path_factory.mktemp("patches"))


@pytest.fixture
def config(patches):
    return patches_config(patches)


@pytest.fixture(scope="module")
def whole(patches, tmp_path_factory):
    """A run from beginning to end."""
    workdir = tmp_path_factory.mktemp("whole")
    command.run(patches_config(patches), workdir, Interrupts())
    return workdir


class Stopped(Interrupts):
    """SIGTERM, or with `kill` the end of everything, comes at a step."""

    def __init__(self, step, *, kill=False):
        super().__init__()
        self._step, self._kill = step, kill

    def stops_at(self, step):
        if step == self._step:
            if self._kill:
                raise TrainingDiverged("killed")
            self.received = "SIGTERM"
        return self.received is not None


def rows(path):
    with path.open(newline="") as file:
        return [
            {key: x for key, x in row.items() if key != "images_per_second"}
            for row in csv.DictReader(file)
        ]


def test_it_learns_what_is_labeled(whole, config):
    scores = {(row["split"], row["attribute"]): row for row in rows(whole / "scores.csv")}
    assert set(scores) == {(s, a) for s in ("validation", "test") for a in ATTRIBUTES}
    for (split, name), row in scores.items():
        assert float(row["area"]) > 0.9 and int(row["faces"]) == SPLITS[split], (split, name)
    # The file alone says the same, of pictures that are read anew.
    network = load_network(whole / "classifier.safetensors", expected="AttributeClassifier")
    settings = command.read_classifier_settings(to_json(config))
    faces, names = open_labeled_pictures(settings.data, (), ())
    logits = make_predict(7, num_threads=1, prefetch=1)(network, faces["test"])
    for name, score in zip(names, score_answers(logits, faces["test"].labels), strict=True):
        assert float(scores["test", name]["accuracy"]) == pytest.approx(score.accuracy, abs=1e-6)


def test_the_best_network_by_validation_is_exported(whole):
    measured = {int(row["step"]): float(row["area"]) for row in rows(whole / "validation.csv")}
    assert list(measured) == [10, 20, 30, 40, 50, 60]
    best = max(measured, key=measured.get)
    notes = read_metadata(whole / "classifier.safetensors")
    assert notes["step"] == str(best)
    assert notes["attributes"] == ",".join(ATTRIBUTES) and notes["image_size"] == "16"
    exported = load_network(whole / "classifier.safetensors")
    kept = load_network(whole / "best" / f"{best:07d}.safetensors")
    image = np.ones((1, 16, 16, 3), np.float32)
    np.testing.assert_array_equal(exported(image), kept(image))


def test_a_stopped_run_ends_with_the_same_bits(whole, config, tmp_path):
    command.run(config, tmp_path, Stopped(13))
    assert (tmp_path / "checkpoints" / "13").is_dir()
    assert not (tmp_path / "classifier.safetensors").exists()
    with pytest.raises(TrainingDiverged, match="killed"):  # after the validation of step 30
        command.run(config, tmp_path, Stopped(35, kill=True))
    assert [row["step"] for row in rows(tmp_path / "validation.csv")] == ["10", "20", "30"]
    command.run(config, tmp_path, Interrupts())
    for name in ("classifier.safetensors", "validation.csv", "scores.csv"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name
    assert rows(tmp_path / "metrics.csv") == rows(whole / "metrics.csv")


def test_other_labels_are_no_continuation(whole, config, patches, tmp_path):
    workdir = shutil.copytree(whole, tmp_path / "run")
    text = (patches / "labels.txt").read_text()
    (tmp_path / "labels.txt").write_text(text.replace("000003.png -1", "000003.png 1"))
    assert (tmp_path / "labels.txt").read_text() != text
    config.data.labels = str(tmp_path / "labels.txt")
    with pytest.raises(RunCheckpointError, match="was trained on the batches"):
        command.run(config, workdir, Interrupts())
    config.balance = 0.0
    with pytest.raises(ConfigError, match="config.balance was 0.5 and is now 0.0"):
        command.run(config, workdir, Interrupts())


def test_other_configs_take_the_network(whole):
    for role in ("classifier", "evaluation_classifier"):
        files = {role: str(whole / "classifier.safetensors")}
        assert check_roles(files, ("Rare", "Red"), required=()) == []
    (complaint,) = check_roles({"classifier": files[role]}, ("Blue",), required=())
    assert "does not predict Blue; choose among Red, Bright_Above, Rare" in complaint


def test_its_run_is_no_editor(whole):
    with pytest.raises(ConfigError, match="has trained a method.*networks.classifier="):
        Editor.from_workdir(whole)


def test_evaluation_classifier_with_ages_from_a_csv_file(patches, tmp_path):
    lines = [line.split() for line in (patches / "labels.txt").read_text().splitlines()[2:]]
    table = ["image,Red,age"]
    table += [f"{x[0]},{'1' if x[1] == '1' else '0'},{30 if x[2] == '1' else 50}" for x in lines]
    table[5] = table[5].split(",")[0] + ",,"  # nobody has said anything
    (tmp_path / "labels.csv").write_text("\n".join(table))
    config = patches_config(patches, "evaluation")
    assert config.role == "evaluation_classifier" and config.seed != patches_config(patches).seed
    config.data.update({"labels": str(tmp_path / "labels.csv"), "age_column": "age"})
    config.data.partition = ""
    config.age_thresholds = (40,)
    config.augmentation.update({"mirror": False, "scale": 0.0, "shift": 0.0, "light": 0.0})
    config.training.update({"num_steps": 30, "checkpoint_every": 30})
    command.run(config, tmp_path / "run", Interrupts())
    file = tmp_path / "run" / "evaluation_classifier.safetensors"
    notes = read_metadata(file)
    assert notes["attributes"] == "Red" and notes["age_thresholds"] == "40"
    assert load_network(file).num_age_thresholds == 1
    scores = {row["attribute"]: float(row["area"]) for row in rows(tmp_path / "run" / "scores.csv")}
    assert scores.keys() == {"Red", "older_than_40"} and min(scores.values()) > 0.8


def test_pictures_that_cannot_be_read_are_named_before_training(patches, config, tmp_path):
    folder = shutil.copytree(patches / "images", tmp_path / "images")
    Image.new("RGB", (18, 12)).save(folder / "000004.png")
    (folder / "000129.png").write_bytes(b"no picture")
    config.data.folder = str(folder)
    with pytest.raises(DataError) as error:
        command.run(config, tmp_path / "run", Interrupts())
    assert re.search(
        "2 pictures are not as they must be: .*000004.png: the crop .* goes beyond its 18 x 12 pixels,"
        " .*000129.png: not a readable image",
        str(error.value),
    )
