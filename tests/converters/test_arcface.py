"""The identity encoders against recorded outputs of the original code."""

import pathlib

import numpy as np
import pytest

from converters import arcface, e4e, resnet
from converters.errors import CheckpointError
from sdflow_jax.files import networks
from sdflow_jax.images.resizing import crop_and_resize
from sdflow_jax.models.face_identity import FFHQ_FACE_CROP
from sdflow_jax.models.interpolation import resize_aligned
from tests.filled_networks import filled_arrays
from tests.golden.golden_weights import load_case

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "arcface"

# Relative to the largest entry; about ten times what float32 differs from float64 by.
EMBEDDING_TOLERANCE = 3e-5
LOSS_TOLERANCE = 2e-6

TINY = {"widths": [4, 4, 6, 8, 10], "image_size": 32, "embedding_dim": 5}
TINY_NETWORKS = {
    "IdentityEncoder": {**TINY, "units": [1, 2, 1, 1], "squeeze_excitation": True},
    "IResNet": {**TINY, "depth": 18},
}
IR = {**TINY_NETWORKS["IdentityEncoder"], "squeeze_excitation": False}


def tiny_state_dict(name):
    return arcface.restore(TINY_NETWORKS[name], filled_arrays(name, TINY_NETWORKS[name]))


@pytest.mark.parametrize(
    "name",
    [
        "iresnet18",
        pytest.param("irse50", marks=pytest.mark.full),
        pytest.param("iresnet50", marks=pytest.mark.full),
    ],
)
def test_converted_network_gives_the_recorded_embeddings(name, tmp_path):
    case = load_case(GOLDEN / name)
    assert arcface.matches(case.state_dict)
    assert not e4e.matches(case.state_dict) and not resnet.matches(case.state_dict)
    networks.save_arrays(tmp_path / "encoder.safetensors", *arcface.convert(case.state_dict))
    encoder = networks.load_network(tmp_path / "encoder.safetensors")
    faces = case.arrays["face"].astype(np.float32).transpose(0, 2, 3, 1)
    expected = case.arrays["embedding"]
    # Backbone scales its embeddings to unit length, the iresnets do not.
    found = encoder(faces) if name == "irse50" else encoder.embed(faces)
    tolerance = EMBEDDING_TOLERANCE * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    if "id_loss" in case.arrays:
        check_identity_loss(encoder, case.arrays)


def check_identity_loss(encoder, arrays):
    """Upstream's `IDLoss`: minus the mean cosine of two images' crops, in a scaling of its own."""

    def prepared(images):
        images = images.astype(np.float32).transpose(0, 2, 3, 1)
        faces = crop_and_resize(images, None, crop=FFHQ_FACE_CROP)
        # To [0, 1], where InsightFace's networks expect [-1, 1].
        return 0.5 * resize_aligned(faces, 112, 112) + 0.5

    embeddings = encoder.embed(prepared(arrays["image_a"]))
    expected = arrays["id_embedding_a"]
    tolerance = EMBEDDING_TOLERANCE * np.abs(expected).max()
    np.testing.assert_allclose(embeddings, expected, rtol=0, atol=tolerance)
    cosines = (encoder(prepared(arrays["image_a"])) * encoder(prepared(arrays["image_b"]))).sum(1)
    np.testing.assert_allclose(-cosines.mean(), arrays["id_loss"][0], rtol=0, atol=LOSS_TOLERANCE)


@pytest.mark.parametrize("name", TINY_NETWORKS)
def test_conversion_undoes_restoration(name):
    arguments = TINY_NETWORKS[name]
    flat = filled_arrays(name, arguments)
    state_dict = arcface.restore(arguments, flat)
    found_name, found_arguments, found = arcface.convert(
        {f"module.{key}": value for key, value in state_dict.items()}
    )
    assert (found_name, found_arguments) == (name, arguments)
    assert found.keys() == flat.keys()
    for path in flat:
        np.testing.assert_array_equal(found[path], flat[path], err_msg=path)


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("IdentityEncoder", "output_layer.3.weight", "square map of 10 channels"),
        ("IResNet", "fc.weight", "square map of 10 channels"),
    ],
)
def test_an_embedding_of_no_square_map_is_refused(name, key, message):
    state_dict = tiny_state_dict(name)
    with pytest.raises(CheckpointError, match=message):
        arcface.convert({**state_dict, key: np.zeros((5, 50), np.float32)})


def test_an_iresnet_of_unknown_depth_is_refused():
    state_dict = arcface.restore(
        TINY_NETWORKS["IResNet"], filled_arrays("IResNet", TINY_NETWORKS["IResNet"])
    )
    shorter = {key: value for key, value in state_dict.items() if not key.startswith("layer2.1.")}
    with pytest.raises(CheckpointError, match=r"18, 34, 50, 100, got stages of \(2, 1"):
        arcface.convert(shorter)


def test_missing_keys_are_named():
    state_dict = arcface.restore(
        TINY_NETWORKS["IResNet"], filled_arrays("IResNet", TINY_NETWORKS["IResNet"])
    )
    del state_dict["features.running_mean"]
    with pytest.raises(CheckpointError, match=r"- features\.running_mean"):
        arcface.convert(state_dict)


def test_a_network_without_squeeze_and_excitation_is_converted():
    flat = filled_arrays("IdentityEncoder", IR)
    state_dict = arcface.restore(IR, flat)
    assert "body.0.res_layer.4.running_var" in state_dict
    assert not any("res_layer.5" in key for key in state_dict)
    assert arcface.matches(state_dict) and not e4e.matches(state_dict)
    network, arguments, found = arcface.convert(state_dict)
    assert (network, arguments) == ("IdentityEncoder", IR)
    for path in flat:
        np.testing.assert_array_equal(found[path], flat[path], err_msg=path)


def test_gates_in_some_units_only_are_refused():
    state_dict = tiny_state_dict("IdentityEncoder")
    del state_dict["body.3.res_layer.5.fc2.weight"]
    with pytest.raises(CheckpointError, match=r"- body\.3\.res_layer\.5\.fc2\.weight"):
        arcface.convert(state_dict)
    state_dict = arcface.restore(IR, filled_arrays("IdentityEncoder", IR))
    state_dict["body.3.res_layer.5.fc2.weight"] = np.zeros((8, 1, 1, 1), np.float32)
    with pytest.raises(CheckpointError, match=r"\+ body\.3\.res_layer\.5\.fc2\.weight"):
        arcface.convert(state_dict)
