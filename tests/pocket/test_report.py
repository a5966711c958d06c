"""The report's measures on made-up networks, whose results are known."""

import numpy as np
import pytest

from sdflow_jax.pocket import report

ATTRIBUTES = ("Bright", "Green")


def faces(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3)).astype(np.uint8)


def read(images):
    """Brightness of the left half and of the green channel, stretched around their middle."""
    left = images[:, :, :32].mean((1, 2, 3)) / 255
    green = images[..., 1].mean((1, 2)) / 255
    return np.clip(0.5 + 100 * (np.stack([left, green], 1) - 0.5), 0.0, 1.0)


@pytest.fixture
def sets():
    originals = faces(40)
    return report.Sets(
        faces=originals,
        others=faces(40, 1),
        renders=np.clip(originals.astype(int) + 2, 0, 255).astype(np.uint8),
        reconstructions=255 - originals,
        halfway=faces(40, 2),
        samples=np.zeros_like(originals),
        w_plus=np.random.default_rng(3).normal(size=(40, 2, 4)).astype(np.float32),
    )


def test_agreement_is_counted_beside_that_with_the_mirror_image(sets):
    table = report.attribute_agreement(sets, {"reader": (ATTRIBUTES, read)})["reader"]
    # The negative of a face has every reading turned round.
    assert table["Green"]["same decision"] == 0.0
    assert table["Green"]["correlation"] < -0.99
    # The mirror image has the same green, but other pixels on the left.
    assert table["Green"]["same decision, mirrored"] == 1.0
    assert table["Green"]["correlation, mirrored"] == pytest.approx(1.0)
    assert abs(table["Bright"]["correlation, mirrored"]) < 0.5


def test_likeness_of_small_changes_is_greater_than_that_of_negatives(sets):
    table = report.likeness(sets)
    near, far = table["latent noise"], table["reconstructions"]
    assert near["pyramid L1"] < 0.03 < far["pyramid L1"]
    assert near["PSNR (dB)"] > 35 > far["PSNR (dB)"]
    assert near["MS-SSIM"] > 0.99 > far["MS-SSIM"]


def test_realism_is_measured_against_other_faces(sets):
    table = report.realism(sets, lambda images: images.reshape(len(images), -1, 3).mean(1))
    assert set(table) == {"other faces", "reconstructions", "samples", "halfway"}
    assert table["other faces"]["Frechet"] < 10 < table["samples"]["Frechet"]
    assert table["other faces"]["kernel"] < table["samples"]["kernel"]


def test_linear_probe_finds_what_is_linear_and_not_what_is_not_there():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(2000, 6)).astype(np.float32)
    logits = np.stack([codes[:, 0] - 2 * codes[:, 3], rng.normal(size=2000)], axis=1)
    table = report.linear_probe(codes, 1 / (1 + np.exp(-logits)), ATTRIBUTES)
    assert table["Bright"]["correlation"] > 0.99
    assert table["Bright"]["area under the curve"] > 0.99
    assert abs(table["Green"]["correlation"]) < 0.1
    assert abs(table["Green"]["area under the curve"] - 0.5) < 0.05


def test_tables_name_every_measure(sets):
    likeness = report.likeness(sets)
    agreement = report.attribute_agreement(sets, {"reader": (ATTRIBUTES, read)})
    distances = report.realism(sets, lambda images: images.reshape(40, -1, 3).mean(1))
    probe = {name: {"correlation": 0.25} for name in ATTRIBUTES}
    text = report.markdown(
        {
            "split": "validation",
            "faces": 40,
            "likeness": likeness,
            "identity": {"reconstructions": 0.875},
            "attributes": agreement,
            "realism, evaluation classifier": distances,
            "realism, dlib embedding": distances,
            "linear probe of w": probe,
            "path length": 12.5,
            "annotated test faces": {"C": {"Bright": 0.96875}},
        }
    )
    for expected in (
        "| reconstructions | 0.875 |",
        "| Bright | 0.25 |",
        "0.9688",
        "12.5",
        "40 validation",
    ):
        assert expected in text
    widths = [line.count("|") for line in text.splitlines() if line.startswith("| against")]
    assert widths == [5]
