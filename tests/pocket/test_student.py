"""Pruning the renderer to a student, and teaching it."""

import numpy as np
import pytest

from sdflow_jax.files import networks
from sdflow_jax.pocket.build.codes import CodeMaker
from sdflow_jax.pocket.build.student import (
    StudentSettings,
    initial_student,
    peak_signal_to_noise,
    train_student,
)

WIDE = {"4": 16, "8": 16, "16": 16, "32": 16, "64": 8}
NARROW = {"4": 16, "8": 16, "16": 8, "32": 8}


@pytest.fixture(scope="module")
def renderer():
    arguments = {"resolution": 128, "style_dim": 16, "channels": WIDE, "num_mapping_layers": 2}
    return networks.build("MobileStyleGAN", arguments)


@pytest.fixture(scope="module")
def pairs(renderer):
    codes = CodeMaker(renderer)(np.arange(24))
    images = renderer.synthesize(codes.w_plus(renderer.num_styles), resolution=32)
    scaled = (images - images.mean()) / (2 * images.std())
    return codes, np.asarray((scaled.clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def _arguments(channels, renderer):
    return {
        "resolution": 32,
        "style_dim": 16,
        "num_styles": renderer.num_styles,
        "color_style": 11,
        "channels": channels,
        "num_mapping_layers": 2,
    }


def test_unpruned_student_has_the_feature_maps_of_the_renderer(renderer, pairs):
    codes, pictures = pairs
    same = {size: WIDE[size] for size in NARROW}
    student = initial_student(renderer, _arguments(same, renderer), codes, pictures)
    w_plus = codes.w_plus(renderer.num_styles)
    ours, theirs = student.trunk(w_plus, 3), renderer.trunk(w_plus, 3)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_linear_picture_beats_the_mean_picture(renderer, pairs):
    codes, pictures = pairs
    student = initial_student(renderer, _arguments(NARROW, renderer), codes, pictures)
    small = pictures.reshape(24, 8, 4, 8, 4, 3).mean((2, 4)) / 127.5 - 1
    base = np.concatenate([np.asarray(codes.coarse)] * 3, axis=1) @ student.base.kernel[...]
    base = (base + student.base.bias[...][None]).reshape(small.shape)
    assert np.square(base - small).mean() < 0.5 * np.square(small.mean(0) - small).mean()


def test_training_brings_the_pictures_closer_and_resumes(renderer, pairs, tmp_path):
    codes, pictures = pairs
    arguments = _arguments(NARROW, renderer)

    def quality(student):
        wanted = pictures / 127.5 - 1
        return float(
            peak_signal_to_noise(
                student.synthesize(codes.w_plus(renderer.num_styles)), wanted
            ).mean()
        )

    student = initial_student(renderer, arguments, codes, pictures)
    before = quality(student)
    settings = StudentSettings(arguments, num_steps=30, batch_size=8, learning_rate=5e-3)
    trained = train_student(student, codes, pictures, settings, tmp_path)
    assert quality(trained) > before + 0.5
    # Everything is done: the same call gives the same network without a step.
    again = train_student(
        initial_student(renderer, arguments, codes, pictures), codes, pictures, settings, tmp_path
    )
    assert quality(again) == pytest.approx(quality(trained), abs=1e-4)
