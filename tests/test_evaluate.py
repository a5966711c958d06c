"""`evaluate.py` from the config of a run to its files, with random networks."""

import csv
import dataclasses
import importlib.util
import json
import shutil

import jax
import numpy as np
import pytest

import evaluate
from reliability.tiny_world import (
    EDITED_ATTRIBUTES,
    IMAGE_SIZE,
    STYLE_DIM,
    build_tiny_world,
    tiny_config,
)
from sdflow_jax.data import face_latents
from sdflow_jax.data.image_source import DataError
from sdflow_jax.data.prepared import prepare_data
from sdflow_jax.evaluation import (
    EvaluationError,
    EvaluationSettings,
    ExternalJudges,
    JudgeOutputs,
    load_judges,
)
from sdflow_jax.files import networks
from sdflow_jax.files.lock import InUseError, locked
from sdflow_jax.files.run_config import (
    ConfigError,
    load_config,
    save_config,
    to_json,
    with_networks,
)
from sdflow_jax.methods.sdflow.networks import network_arguments
from sdflow_jax.methods.settings import read_settings, read_shared_settings
from tests.filled_networks import filled_arrays

SETTINGS = EvaluationSettings(
    num_faces=9,
    strengths=(0.0, 0.5, 1.0),
    batch_size=4,
    num_shown=2,
    num_resamples=20,
    num_samples=3,
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    directory = build_tiny_world(tmp_path_factory.mktemp("world"))
    files = directory / "networks"
    # The same network as training and evaluation classifier: two random ones would agree on hardly any face.
    shutil.copy(files / "classifier.safetensors", files / "evaluation_classifier.safetensors")
    config = tiny_config(directory)
    save_config(directory, config)
    settings = read_settings(to_json(config))
    arguments = network_arguments(
        settings.own, num_attributes=len(settings.attributes), style_dim=STYLE_DIM
    )
    notes = {"attributes": ",".join(EDITED_ATTRIBUTES), "image_size": str(IMAGE_SIZE)}
    for name, kind in (("flow", "ConditionalFlow"), ("semantic_encoder", "SemanticEncoder")):
        arrays = filled_arrays(kind, arguments[name])
        for key in arrays:
            if key.endswith(("/variance", "/sqrt_end_time")):
                arrays[key] = np.ones_like(arrays[key])
        path = directory / "sdflow" / f"{name}.safetensors"
        networks.save_arrays(path, kind, arguments[name], arrays, notes=notes)
    return directory


def test_a_run_is_evaluated_on_its_test_faces(workdir):
    summary = evaluate.run(load_config(workdir), workdir, SETTINGS, "test")
    results = workdir / "evaluation"
    assert json.loads((results / "summary.json").read_text()) == summary
    assert summary["num_faces"] == 9
    assert list(summary["requests"]) == ["Young", "Eyeglasses", "Young+Eyeglasses"]
    with (results / "points.csv").open() as stream:
        first = next(csv.DictReader(stream))
    # Strength 0 goes out and back and arrives at the reconstruction.
    assert float(first["editing_accuracy"]) == 0
    assert float(first["identity_preservation"]) == pytest.approx(1, abs=1e-3)
    for name in ("preservation", "semantic_variables", "edits", "sliders"):
        assert (results / f"{name}.png").stat().st_size > 10_000

    # The same networks sample new faces, under each of the four combinations.
    assert list(summary["sampling"]) == ["independent", "shared"]
    for sampled in summary["sampling"].values():
        assert sampled["samples_per_combination"] == 3
        assert list(sampled["accuracy"]) == list(EDITED_ATTRIBUTES)
        # The same faces are the reference of both.
        assert sampled["diversity_of_faces"] == summary["sampling"]["shared"]["diversity_of_faces"]
    for kind in ("shared", "independent"):
        assert (results / f"samples_{kind}.png").stat().st_size > 10_000


class HostJudges:
    """In place of the published networks: on the host, of the opposite opinion on Male, and otherwise
    of the config's judges' own.
    """

    attributes = ("Male", "Young")
    image_size = None

    def __init__(self, files):
        self._judges = load_judges(
            files["evaluation_classifier"], files["identity_encoder"], image_size=IMAGE_SIZE
        )

    def judge(self, images):
        assert not isinstance(images, jax.core.Tracer) and images.shape[1] == IMAGE_SIZE
        probabilities, embeddings = map(np.asarray, self._judges.judge(np.asarray(images)))
        male, young = (self._judges.attributes.index(name) for name in self.attributes)
        opinions = np.stack([1 - probabilities[:, male], probabilities[:, young]], axis=1)
        return JudgeOutputs(opinions, embeddings)


def test_external_judges_judge_what_they_can_and_are_compared(workdir, monkeypatch):
    files = load_config(workdir)["networks"]
    monkeypatch.setattr(evaluate, "ExternalJudges", lambda: HostJudges(files))
    run = read_shared_settings(load_config(workdir))
    dataset = prepare_data(run.data, run.networks, workdir)
    faces = face_latents.open_split(dataset, "test")
    # Whatever the random networks think, some face counts: both classifiers may see "young".
    monkeypatch.setattr(
        "sdflow_jax.evaluation.strength_sweep.counted_faces",
        lambda *_: np.ones(min(9, len(faces)), bool),
    )
    settings = dataclasses.replace(SETTINGS, strengths=(0.0, 1.0), num_samples=0)
    summary = evaluate.run(load_config(workdir), workdir, settings, "test", "external")
    assert json.loads((workdir / "evaluation_external" / "summary.json").read_text()) == summary
    assert list(summary["requests"]) == ["Young"]  # Eyeglasses have no such judge
    assert list(summary["agreement"]) == ["unedited", "Young"]
    for entry in summary["agreement"].values():
        assert entry == {
            "num_faces": 9,
            "identity_correlation": 1.0,
            "Male": {"same_decision": 0.0, "correlation": -1.0},
            "Young": {"same_decision": 1.0, "correlation": 1.0},
        }


def test_missing_packages_of_the_external_judges_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EvaluationError, match="make pocket-build-environment"):
        ExternalJudges()


def test_evaluation_without_a_judge_is_refused(workdir):
    config = load_config(workdir)
    config["networks"]["identity_encoder"] = ""
    with pytest.raises(ConfigError, match="identity_encoder must be .* --network=identity_encoder"):
        evaluate.run(config, workdir, SETTINGS, "test")


def test_faces_of_another_folder_are_evaluated_beside_the_runs_own(workdir, tmp_path):
    folder = tmp_path / "others"
    folder.mkdir()
    for file in sorted((workdir / "faces").iterdir())[:12]:
        shutil.copy(file, folder)
    settings = dataclasses.replace(SETTINGS, strengths=(0.0, 1.0), num_samples=0)
    summary = evaluate.run(load_config(workdir), workdir, settings, faces=str(folder))
    assert summary["num_faces"] == 9 and summary["faces"] == str(folder)
    written = workdir / "evaluation_on_others" / "summary.json"
    assert json.loads(written.read_text()) == summary
    # Another folder of that name must not pass for it.
    namesake = tmp_path / "elsewhere" / "others"
    shutil.copytree(folder, namesake)
    with pytest.raises(
        EvaluationError, match="holds the results of .*others, not of .*elsewhere.*rename it"
    ):
        evaluate.run(load_config(workdir), workdir, settings, faces=str(namesake))
    assert json.loads(written.read_text()) == summary
    assert (
        evaluate._results(workdir, "config", None, "validation").name == "evaluation_on_validation"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="empty: no picture that can be opened"):
        evaluate.run(load_config(workdir), workdir, settings, faces=str(empty))
    with pytest.raises(DataError, match="--faces .*nowhere: no such directory"):
        evaluate.run(load_config(workdir), workdir, settings, faces=str(tmp_path / "nowhere"))


def test_networks_given_by_role_replace_those_of_the_config(workdir):
    config = load_config(workdir)
    replaced = with_networks(config, ["identity_encoder=other=one.safetensors"])
    assert replaced["networks"]["identity_encoder"] == "other=one.safetensors"
    assert replaced["networks"]["generator"] == config["networks"]["generator"]
    for entry in ("identity_encoder", "judge=file", "generator="):
        with pytest.raises(ConfigError, match=f"--network={entry}: expected ROLE=FILE"):
            with_networks(config, [entry])
    # Another generator than that of the training is no choice.
    begun = {**config["network_digests"], "generator": "0123456789abcdef"}
    with pytest.raises(ConfigError, match="does not hold the network that the run was begun with"):
        evaluate.run({**config, "network_digests": begun}, workdir, SETTINGS)


@pytest.mark.parametrize(
    ("strengths", "batch_size", "complaint"),
    [
        (["0", "much"], 8, "--strengths must be numbers with commas between, got 0,much"),
        (["1", "0"], 8, r"--strengths must rise, finite and not negative, got \(1.0, 0.0\)"),
        (["0"], 0, "--batch_size must be at least 1, got 0"),
    ],
)
def test_flags_out_of_range_are_named(strengths, batch_size, complaint):
    with pytest.raises(ConfigError, match=complaint):
        evaluate.settings_of(strengths, batch_size=batch_size)


def test_a_run_in_use_is_not_evaluated(workdir, tmp_path):
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    for directory, work in ((tmp_path, "training"), (tmp_path / "evaluation", "evaluating")):
        with locked(directory, work), pytest.raises(InUseError, match=f"is in use: {work}"):
            evaluate.run(load_config(tmp_path), tmp_path, SETTINGS)
    assert [file.name for file in (tmp_path / "evaluation").iterdir()] == [".lock"]
