"""The e4e encoder against recorded outputs of the original code."""

import argparse
import pathlib

import numpy as np
import pytest

from converters import arcface, e4e, resnet
from converters.errors import CheckpointError
from sdflow_jax.files import networks
from tests.filled_networks import filled_arrays
from tests.golden.golden_weights import load_case

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "e4e"

# About ten times what float32 differs from float64 by, for another order of summation.
CODE_TOLERANCE = 5e-5

TINY = {
    "widths": [4, 4, 6, 8, 10],
    "units": [2, 1, 1, 2],
    "image_size": 64,
    "num_styles": 8,
    "style_dim": 6,
    "head_width": 6,
    "offset_scale": 1.0,
    "equalized_heads": True,
    "base_code": True,
}


@pytest.mark.full
def test_converted_encoder_gives_the_recorded_codes(tmp_path):
    case = load_case(GOLDEN / "e4e_size32")
    checkpoint = {
        "state_dict": {f"encoder.{key}": value for key, value in case.state_dict.items()}
        | {"decoder.input.input": np.zeros((1, 4), np.float32)},
        "latent_avg": case.arrays["latent_avg"],
        "opts": {"stylegan_size": 32},
    }
    assert e4e.matches(checkpoint)
    assert not arcface.matches(checkpoint) and not resnet.matches(checkpoint)
    converted = e4e.convert(checkpoint, encoder_type="e4e")
    networks.save_arrays(tmp_path / "encoder.safetensors", *converted)
    encoder = networks.load_network(tmp_path / "encoder.safetensors")
    images = case.arrays["image"].astype(np.float32).transpose(0, 2, 3, 1)

    # Operation by operation: compiling the whole network at once takes longer than running it.
    codes = encoder.codes(images)
    results = {
        "w_plus": encoder(images),
        "codes": codes,
        "codes_stage0": encoder.codes(images, stage=0),
        "codes_stage1": encoder.codes(images, stage=1),
        "codes_stage3": encoder.codes(images, stage=3),
        "codes_stage7": encoder.codes(images, stage=7),
        # upstream's demo adds the generator's average style instead
        "w_plus_app": np.asarray(codes) + case.arrays["latent_avg_stylegan"],
    }
    for name, codes in results.items():
        np.testing.assert_allclose(
            codes, case.arrays[name], rtol=0, atol=CODE_TOLERANCE, err_msg=name
        )


@pytest.fixture(scope="module")
def flat():
    return filled_arrays("InversionEncoder", TINY)


@pytest.fixture
def checkpoint(flat):
    return e4e.restore(TINY, flat)


def test_conversion_undoes_restoration(flat, checkpoint):
    name, arguments, found = e4e.convert(checkpoint)
    assert (name, arguments) == ("InversionEncoder", TINY)
    assert found.keys() == flat.keys()
    for path in flat:
        np.testing.assert_array_equal(found[path], flat[path], err_msg=path)


def test_one_average_style_serves_all(checkpoint):
    average = np.arange(6, dtype=np.float32)
    flat = e4e.convert({**checkpoint, "latent_avg": average})[2]
    np.testing.assert_array_equal(flat["latent_average"], np.tile(average, (8, 1)))


@pytest.mark.parametrize("average", [None, 3, np.zeros((18, 6), np.float32)])
def test_a_missing_or_misshaped_average_is_refused(checkpoint, average):
    with pytest.raises(CheckpointError, match=r"latent_avg of shape \(8, 6\)"):
        e4e.convert({**checkpoint, "latent_avg": average})


def test_an_average_style_can_be_given_instead(checkpoint):
    style = np.arange(6, dtype=np.float32)
    del checkpoint["latent_avg"]
    flat = e4e.convert(checkpoint, average_style=style)[2]
    np.testing.assert_array_equal(flat["latent_average"], np.tile(style, (8, 1)))
    with pytest.raises(CheckpointError, match="average style of length 6"):
        e4e.convert(checkpoint, average_style=np.zeros(7, np.float32))


def test_codes_that_upstream_does_not_measure_from_the_average_are_measured_from_zero(checkpoint):
    checkpoint["opts"] |= {"start_from_latent_avg": False}
    assert not np.any(e4e.convert(checkpoint)[2]["latent_average"])


@pytest.mark.parametrize("as_options", [dict, lambda items: argparse.Namespace(**items)])
@pytest.mark.parametrize(
    ("encoder_type", "base_code"), [("GradualStyleEncoder", False), ("Encoder4Editing", True)]
)
def test_options_tell_psp_from_e4e(checkpoint, as_options, encoder_type, base_code):
    checkpoint["opts"] = as_options({"encoder_type": encoder_type, "start_from_latent_avg": True})
    assert e4e.matches(checkpoint)
    network, arguments, flat = e4e.convert(checkpoint)
    assert arguments == {**TINY, "base_code": base_code}
    assert e4e.restore(arguments, flat)["opts"]["encoder_type"] == encoder_type


@pytest.mark.parametrize("options", [None, {}, {"stylegan_size": 32}, argparse.Namespace()])
def test_an_encoder_that_does_not_tell_its_type_asks_for_it(checkpoint, options):
    checkpoint["opts"] = options
    with pytest.raises(CheckpointError, match="--encoder-type=e4e or --encoder-type=psp"):
        e4e.convert(checkpoint)
    assert e4e.convert(checkpoint, encoder_type="psp")[1]["base_code"] is False
    assert e4e.convert(checkpoint, encoder_type="e4e")[1]["base_code"] is True


def test_a_type_that_contradicts_the_options_is_refused(checkpoint):
    assert e4e.convert(checkpoint, encoder_type="e4e")[1] == TINY
    with pytest.raises(CheckpointError, match="but its options say Encoder4Editing"):
        e4e.convert(checkpoint, encoder_type="psp")


@pytest.mark.parametrize("encoder_type", ["BackboneEncoderUsingLastLayerIntoW", "x" * 1000, None])
def test_an_encoder_of_another_type_is_refused(checkpoint, encoder_type):
    checkpoint["opts"] = {"encoder_type": encoder_type}
    assert e4e.matches(checkpoint)
    with pytest.raises(CheckpointError, match="expected an encoder of type Encoder4Editing or"):
        e4e.convert(checkpoint)
    for key in [key for key in checkpoint["state_dict"] if "styles." in key]:
        del checkpoint["state_dict"][key]
    assert e4e.matches(checkpoint)  # so that it is refused by its type, not by its keys


def test_missing_keys_are_named(checkpoint):
    del checkpoint["state_dict"]["encoder.styles.3.convs.2.bias"]
    with pytest.raises(CheckpointError, match=r"- styles\.3\.convs\.2\.bias"):
        e4e.convert(checkpoint)


def test_an_encoder_without_four_stages_is_refused(checkpoint):
    state_dict = checkpoint["state_dict"]
    for key in [key for key in state_dict if ".body.5." in key or ".body.4." in key]:
        del state_dict[key]
    with pytest.raises(CheckpointError, match="four stages"):
        e4e.convert(checkpoint)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("offset_scale", 0.3, r"no scale on its offsets, got 0\.3"),
        ("equalized_heads", False, "scales its heads' weights"),
    ],
)
def test_an_encoder_unlike_upstreams_cannot_be_restored(flat, key, value, message):
    with pytest.raises(ValueError, match=message):
        e4e.restore({**TINY, key: value}, flat)
