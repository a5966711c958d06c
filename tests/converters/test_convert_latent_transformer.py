import pathlib

import numpy as np
import pytest
from flax import nnx

from converters import latent_transformer
from converters.errors import CheckpointError
from sdflow_jax.files import networks
from tests.golden.golden_weights import load_case

BASELINES = pathlib.Path(__file__).parents[1] / "golden/baselines"


def load(state_dict, **arguments):
    network, found, flat = latent_transformer.convert(state_dict)
    module = nnx.eval_shape(lambda: networks.build(network, found | arguments))
    networks.load_arrays(module, flat, source="golden")
    return module


def test_latent_map_gives_upstream_outputs():
    case = load_case(BASELINES / "lt_mapping18")
    edited = load(case.state_dict)(case.arrays["w"].reshape(2, 18, 512), case.arrays["coeff"])
    np.testing.assert_allclose(edited.reshape(2, -1), case.arrays["out"], atol=1e-5)


def test_latent_classifier_gives_upstream_outputs():
    case = load_case(BASELINES / "lt_lcnet")
    # recorded with the class's option "relu", not with the leaky ReLU that upstream trains
    logits = load(case.state_dict, negative_slope=0.0).logits(case.arrays["w"].reshape(2, 18, 512))
    np.testing.assert_allclose(logits, case.arrays["out"], atol=3e-5)


def random_state_dict(prefix: str, shapes: list[tuple[int, int]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    weights = {f"{prefix}.{i}.weight": rng.random(s, np.float32) for i, s in enumerate(shapes)}
    biases = {f"{prefix}.{i}.bias": rng.random(s[0], np.float32) for i, s in enumerate(shapes)}
    return weights | biases


MAP = random_state_dict("dense", [(4, 4)] * 3)
CLASSIFIER = random_state_dict("fcs", [(6, 1024), (2, 6)])


@pytest.mark.parametrize("state_dict", [MAP, CLASSIFIER], ids=["map", "classifier"])
def test_restore_undoes_convert(state_dict):
    tree = {f"module.{key}": value for key, value in state_dict.items()}
    assert latent_transformer.matches(tree)
    _, arguments, flat = latent_transformer.convert(tree)
    restored = latent_transformer.restore(arguments, flat)
    assert restored.keys() == state_dict.keys()
    for key, value in state_dict.items():
        np.testing.assert_array_equal(restored[key], value)


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        ({key: value for key, value in MAP.items() if key != "dense.1.bias"}, "dense.1.bias"),
        (MAP | {"dense.2.weight": np.ones((5, 4), np.float32)}, "dense.2.weight"),
        ({"dense.0.bias": MAP["dense.0.bias"]}, "dense.0.weight"),
        (CLASSIFIER | {"fcs.1.weight": np.ones((2, 7), np.float32)}, "fcs.1.weight"),
        (random_state_dict("fcs", [(6, 100), (2, 6)]), "100 inputs"),
        ({"other": np.ones(1)}, "neither"),
        ({}, "neither"),
    ],
)
def test_wrong_keys_and_shapes_are_named(state_dict, message):
    with pytest.raises(CheckpointError, match=message):
        latent_transformer.convert(state_dict)
