"""Either half of the autoencoder learns alone, by the rules that its settings name."""

import dataclasses
import json

import numpy as np
import pytest
from flax import nnx

from sdflow_jax.files import networks
from sdflow_jax.pocket.build.autoencoder import AutoencoderSettings, train_autoencoder
from sdflow_jax.pocket.build.settings import CLASSIFIER, IDENTITY_ENCODER

ARGUMENTS = {
    "InversionEncoder": {
        "image_size": 64,
        "num_styles": 10,
        "style_dim": 6,
        "widths": [4, 4, 4, 12, 16],
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
# The rate is 0 at the first step and whole at the second, so that one update counts.
SHORT = {"num_steps": 2, "batch_size": 4, "warmup_steps": 1, "average_decay": 0.0}
MUON_KERNEL = ("body", "layers", 3, 0, "conv_out", "kernel")  # 3x3x16x16, large enough for it


@pytest.fixture(scope="module")
def judges():
    classifier = networks.build("AttributeClassifier", {**CLASSIFIER, "width": 2, "depth": 18})
    identity = networks.build(
        "IdentityEncoder", {**IDENTITY_ENCODER, "widths": [4] * 5, "units": [1] * 4}
    )
    return nnx.view(classifier, use_running_average=True), nnx.view(
        identity, use_running_average=True
    )


def moved(before, after, kind=nnx.Param):
    """Paths of the variables of one kind that differ."""
    pairs = zip(
        nnx.to_flat_state(nnx.state(before, kind)),
        nnx.to_flat_state(nnx.state(after, kind)),
        strict=True,
    )
    return {
        "/".join(map(str, path)) for (path, a), (_, b) in pairs if np.abs(a[...] - b[...]).max() > 0
    }


@pytest.fixture
def halves():
    return {name: networks.build(name, a, seed=1) for name, a in ARGUMENTS.items()}


def train(halves, judges, settings, folder):
    faces = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    return train_autoencoder(
        faces,
        faces[:2],
        halves["InversionEncoder"],
        halves["Generator"],
        *judges,
        settings,
        folder,
    )


def test_encoder_learns_behind_its_frozen_stages(halves, judges, tmp_path):
    settings = AutoencoderSettings("encoder", kernel_rate=1e-2, frozen_stages=1, **SHORT)
    before = halves["InversionEncoder"]
    after = train(halves, judges, settings, tmp_path)
    changed = moved(before, after)
    assert {"body/layers/1/0/conv_in/kernel", "heads/0/linear/kernel"} <= changed
    assert not [path for path in changed if path.startswith(("body/stem", "body/layers/0"))]
    assert not moved(before, after, nnx.BatchStat)


def test_average_of_kernels_that_muon_moved(halves, judges, tmp_path):
    settings = AutoencoderSettings("encoder", kernel_rate=1e-2, **{**SHORT, "average_decay": 0.75})
    after = train(halves, judges, settings, tmp_path)
    old, new = (
        dict(nnx.to_flat_state(nnx.state(net, nnx.Param)))[MUON_KERNEL][...]
        for net in (halves["InversionEncoder"], after)
    )
    # A quarter of an update that is orthogonal but for the coefficients of Newton and Schulz.
    stretches = np.linalg.svd((new - old).reshape(-1, new.shape[-1]), compute_uv=False)
    assert stretches.min() > 0.0015 and stretches.max() < 0.0032


def test_generator_learns_with_its_adversary(halves, judges, tmp_path):
    before = nnx.clone(halves["Generator"])
    settings = AutoencoderSettings("generator", **SHORT)
    after = train(halves, judges, settings, tmp_path)
    changed = moved(before, after)
    assert changed and not [path for path in changed if path.startswith("mapping")]
    # What was handed in is still there to compare with.
    assert not moved(before, halves["Generator"])
    last = json.loads((tmp_path / "generator.jsonl").read_text().splitlines()[-1])
    assert last["judge"] > 0 and last["fooled"] > 0

    alone = dataclasses.replace(settings, adversary=0.0)
    assert moved(after, train(halves, judges, alone, tmp_path / "alone"))
