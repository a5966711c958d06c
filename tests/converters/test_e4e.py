"""The e4e encoder against recorded outputs of the original code."""

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
    networks.save_arrays(tmp_path / "encoder.safetensors", *e4e.convert(checkpoint))
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


@pytest.mark.parametrize("average", [None, np.zeros((18, 6), np.float32)])
def test_a_missing_or_misshaped_average_is_refused(checkpoint, average):
    with pytest.raises(CheckpointError, match=r"latent_avg of shape \(8, 6\)"):
        e4e.convert({**checkpoint, "latent_avg": average})


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
