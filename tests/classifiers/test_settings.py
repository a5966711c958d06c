import re

import jax
import numpy as np
import pytest

from sdflow_jax.classifiers.augmentation import Augmentation
from sdflow_jax.classifiers.settings import read_classifier_settings
from sdflow_jax.files.config_files import read_config
from sdflow_jax.files.run_config import ConfigError, to_json
from tests.classifiers.patches import CONFIG


@pytest.fixture
def config():
    config = read_config(CONFIG)
    config.data.folder, config.data.labels = "images", "labels.txt"
    return config


def complaints(config):
    with pytest.raises(ConfigError) as error:
        read_classifier_settings(to_json(config))
    return str(error.value)


def test_both_classifiers_have_their_configs(config):
    settings = read_classifier_settings(to_json(config))
    assert settings.role == "classifier" and settings.network["depth"] == 34
    assert settings.data.labels.endswith("/labels.txt") and settings.data.labels.startswith("/")
    evaluation = read_config(f"{CONFIG}:evaluation")
    assert evaluation.role == "evaluation_classifier" and evaluation.network.depth == 50
    with pytest.raises(ValueError, match="the variant is evaluation or none, got 'test'"):
        read_config(f"{CONFIG}:test")


def test_folder_and_labels_must_be_given():
    assert complaints(read_config(CONFIG)).splitlines() == [
        "config.data.folder must be the directory of the face images, got ''",
        "config.data.labels must be the file of their labels, got ''",
    ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "role",
            "generator",
            "config.role must be 'classifier' or 'evaluation_classifier', got 'g",
        ),
        ("seed", -1, "config.seed must be at least 0"),
        ("balance", 1.5, r"config.balance must be in \[0, 1\], got 1.5"),
        (
            "data.crop",
            (1, 2),
            r"config.data.crop must be \(\) or \(top, left, side\) in pixels, got",
        ),
        ("data.crop", (1, 2, 0), "config.data.crop must be"),
        ("data.image_size", 0, "config.data.image_size must be at least 1"),
        ("data.validation_share", 1.0, r"config.data.validation_share must be in \(0, 1\)"),
        ("data.missing_images", "hide", "must be 'refuse' or 'leave_out', got 'hide'"),
        ("network.depth", 20, "config.network.depth must be one of 18, 34, 50, got 20"),
        ("augmentation.light", 1.0, r"config.augmentation.light must be in \[0, 1\)"),
        ("validation.every", 0, "config.validation.every must be at least 1"),
        ("validation.choose_by", "loss", "must be 'area' or 'accuracy', got 'loss'"),
        ("optimizer.decay_steps", 10, "config.optimizer.decay_steps must be at least 20000"),
        ("training.num_steps", 0, "config.training.num_steps must be at least 1"),
        ("age_thresholds", (40, 30), "config.age_thresholds must be a tuple of ascending ages"),
        ("age_thresholds", (40,), "given if and only if config.data.age_column names"),
        ("data.age_column", "age", "config.age_thresholds must be given if and only if"),
        ("attributes", ("",), "config.attributes must be a tuple of names"),
        (
            "validation.batch",
            3,
            "config.validation.batch is no setting; the settings are choose_by",
        ),
        ("method", "sdflow", "config.method is no setting"),
    ],
)
def test_mistakes_are_told(config, key, value, message):
    *groups, name = key.split(".")
    plain = to_json(config)
    group = plain
    for part in groups:
        group = group[part]
    group[name] = value
    with pytest.raises(ConfigError) as error:
        read_classifier_settings(plain)
    assert re.search(message, str(error.value)), error.value
    assert len(str(error.value).splitlines()) == 1


def test_augmentation_changes_each_image_mildly_and_its_own_way():
    image = np.linspace(-0.5, 0.5, 16 * 16 * 3, dtype=np.float32).reshape(1, 16, 16, 3)
    images = np.repeat(image, 6, axis=0)
    key = jax.random.key(0)
    changed = np.asarray(Augmentation(True, 0.05, 0.05, 0.1)(key, images))
    assert changed.shape == images.shape and np.abs(changed).max() <= 1
    assert len({x.tobytes() for x in changed}) == 6
    mirrored = np.asarray(Augmentation(True, 0.0, 0.0, 0.0)(key, images))
    assert {x.tobytes() for x in mirrored} == {image[0].tobytes(), image[0, :, ::-1].tobytes()}
    light = np.asarray(Augmentation(False, 0.0, 0.0, 0.1)(key, images))
    assert 0 < np.abs(light - images).max() <= 0.5 * np.expm1(0.1) + 0.1 + 1e-6
    same = np.asarray(Augmentation(False, 0.0, 0.0, 0.0)(key, images))
    np.testing.assert_array_equal(same, images)
