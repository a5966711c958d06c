"""The SDFlow classifier and estimator against recorded outputs of the original code."""

import pathlib

import numpy as np
import pytest

from converters import arcface, e4e, resnet
from converters.errors import CheckpointError
from sdflow_jax.files import networks
from tests.filled_networks import filled_arrays
from tests.golden.golden_weights import load_case

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "attributes"

# About ten times what float32 differs from float64 by, for another order of summation.
LOGIT_TOLERANCE = 2e-5

TINY = {"depth": 18, "width": 4, "stem_pool": True, "num_attributes": 3}
TINY_NETWORKS = {
    "AttributeClassifier": {**TINY, "head_sizes": [5, 6], "num_age_thresholds": 2},
    "SemanticEncoder": {**TINY, "hidden_sizes": []},
}


def converted(state_dict, tmp_path):
    assert resnet.matches(state_dict)
    assert not arcface.matches(state_dict) and not e4e.matches(state_dict)
    networks.save_arrays(tmp_path / "network.safetensors", *resnet.convert(state_dict))
    return networks.load_network(tmp_path / "network.safetensors")


def channels_last(images):
    return images.astype(np.float32).transpose(0, 2, 3, 1)


@pytest.mark.parametrize(
    "name",
    [
        "estimator_resnet34_64",
        pytest.param("estimator_resnet50_64", marks=pytest.mark.full),
        pytest.param("estimator_resnet34_256", marks=pytest.mark.full),
        pytest.param("estimator_resnet50_256", marks=pytest.mark.full),
    ],
)
def test_converted_estimator_gives_the_recorded_outputs(name, tmp_path):
    case = load_case(GOLDEN / name)
    encoder = converted(case.state_dict, tmp_path)
    images = channels_last(case.arrays["image"])
    logits, semantic = encoder.logits(images), encoder(images)
    np.testing.assert_allclose(logits, case.arrays["logits"], rtol=0, atol=LOGIT_TOLERANCE)
    np.testing.assert_allclose(semantic, case.arrays["out"], rtol=0, atol=LOGIT_TOLERANCE)


@pytest.mark.parametrize("size", [64, pytest.param(256, marks=pytest.mark.full)])
def test_converted_classifier_gives_the_recorded_outputs(size, tmp_path):
    case = load_case(GOLDEN / "classifier_r34")
    classifier = converted(case.state_dict, tmp_path)
    images = channels_last(case.arrays[f"image{size}"])
    logits, predictions = classifier.logits(images), classifier.predictions(images)
    np.testing.assert_allclose(logits, case.arrays[f"outs{size}"], rtol=0, atol=LOGIT_TOLERANCE)
    np.testing.assert_array_equal(predictions, case.arrays[f"preds{size}"])


@pytest.mark.parametrize("name", TINY_NETWORKS)
def test_conversion_undoes_restoration(name):
    arguments = TINY_NETWORKS[name]
    flat = filled_arrays(name, arguments)
    state_dict = resnet.restore(arguments, flat)
    counters = [v for k, v in state_dict.items() if k.endswith("num_batches_tracked")]
    assert counters and all(v.shape == () and v.dtype == np.int64 for v in counters)
    found_name, found_arguments, found = resnet.convert({"state_dict": state_dict})
    assert (found_name, found_arguments) == (name, arguments)
    assert found.keys() == flat.keys()
    for path in flat:
        np.testing.assert_array_equal(found[path], flat[path], err_msg=path)


def damage(state_dict, key, value):
    changed = {**state_dict, key: value}
    return {k: v for k, v in changed.items() if v is not None}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("backbone.layer2.1.bn2.running_var", None, r"- backbone\.layer2\.1\.bn2\.running_var"),
        ("backbone.extra", np.zeros(3, np.float32), r"\+ backbone\.extra"),
        ("backbone.layer1.0.conv1.weight", np.zeros((4, 4, 5, 5), np.float32), r"! .*5, 5"),
        ("backbone.layer1.2.conv1.weight", np.zeros((4, 4, 3, 3), np.float32), "of depth 18, 34"),
        ("backbone.fc.bias", np.full(3, np.nan, np.float32), "infinite or undefined"),
    ],
)
def test_a_wrong_array_is_named(key, value, message):
    arguments = TINY_NETWORKS["SemanticEncoder"]
    state_dict = resnet.restore(arguments, filled_arrays("SemanticEncoder", arguments))
    with pytest.raises(CheckpointError, match=message):
        resnet.convert(damage(state_dict, key, value))


def test_other_checkpoints_do_not_match():
    assert not resnet.matches({"g_ema": {"conv1.weight": np.zeros(1)}})
    assert not resnet.matches([np.zeros(1)]) and not resnet.matches({})
