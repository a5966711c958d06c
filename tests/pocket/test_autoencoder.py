import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from sdflow_jax import networks
from sdflow_jax.pocket.build.autoencoder import AutoencoderSettings, train_autoencoder
from sdflow_jax.pocket.build.settings import CLASSIFIER, IDENTITY_ENCODER

ARGUMENTS = {
    "InversionEncoder": {
        "image_size": 64,
        "num_styles": 10,
        "style_dim": 6,
        "widths": [4, 4, 4, 6, 6],
        "units": [1, 1, 1, 1],
        "head_width": 4,
    },
    "Generator": {
        "resolution": 64,
        "style_dim": 6,
        "num_mapping_layers": 1,
        "channels": {"4": 6, "8": 6, "16": 4, "32": 4, "64": 4},
    },
}
PLAIN = AutoencoderSettings("tried", num_steps=2, batch_size=4, warmup_steps=1, average_decay=0.0)


@pytest.fixture(scope="module")
def judges():
    classifier = networks.build("AttributeClassifier", {**CLASSIFIER, "width": 2, "depth": 18})
    identity = networks.build(
        "IdentityEncoder", {**IDENTITY_ENCODER, "widths": [4] * 5, "units": [1] * 4}
    )
    return nnx.view(classifier, use_running_average=True), nnx.view(
        identity, use_running_average=True
    )


def train(settings, judges, folder):
    faces = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    before = {
        name: networks.build(name, arguments, seed=1) for name, arguments in ARGUMENTS.items()
    }
    encoder, generator = train_autoencoder(
        faces, faces[:2], *judges, ARGUMENTS, settings, folder, initial=before
    )
    return (
        _distance(before["InversionEncoder"], encoder),
        _distance(before["Generator"], generator),
    )


def _distance(a, b):
    pairs = zip(
        jax.tree.leaves(nnx.state(a, nnx.Param)),
        jax.tree.leaves(nnx.state(b, nnx.Param)),
        strict=True,
    )
    return max(float(abs(x - y).max()) for x, y in pairs)


@pytest.mark.parametrize(
    ("changes", "moves"),
    [
        ({"trains_generator": False, "has_adversary": False}, (True, False)),
        ({"trains_encoder": False, "draws_samples": True}, (False, True)),
    ],
)
def test_only_what_is_to_learn_moves(changes, moves, judges, tmp_path):
    distances = train(dataclasses.replace(PLAIN, **changes), judges, tmp_path)
    assert tuple(distance > 0 for distance in distances) == moves
