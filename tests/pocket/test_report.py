"""The report's arithmetic, and that the model card tells of the shipped networks."""

import pathlib

import numpy as np
import pytest

import sdflow_jax
from sdflow_jax.files import networks
from sdflow_jax.pocket import report

CARD = pathlib.Path(sdflow_jax.__file__).parent / "pocket" / "MODEL_CARD.md"
WEIGHTS = CARD.parent / "weights"


def test_calibration_error_is_the_distance_between_what_was_said_and_how_often_it_was_so():
    said = np.array([0.2, 0.2, 0.2, 0.2, 0.9, 0.9])
    is_so = np.array([True, False, False, False, True, False])
    expected = (4 * abs(0.2 - 0.25) + 2 * abs(0.9 - 0.5)) / 6
    assert report.calibration_error(said, is_so) == pytest.approx(expected)
    assert report.calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0.0


def test_table_of_the_model_card_was_measured_on_the_shipped_networks():
    text = CARD.read_text()
    assert f"weights {report.weights_digest()}" in text
    measured = [line for line in text.splitlines() if line.startswith("| judge decides alike")]
    assert len(measured) == 6


def test_every_shipped_network_tells_its_terms_and_all_are_small():
    files = sorted(WEIGHTS.glob("*.safetensors"))
    assert len(files) == 7
    for file in files:
        assert networks.read_metadata(file)["terms"].startswith("for non-commercial research")
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) < 40e6


def test_seeds_of_grown_up_faces_are_sorted_and_in_their_splits():
    seeds = np.load(WEIGHTS / "adult_seeds.npy")
    assert (np.diff(seeds) > 0).all()
    counts = [
        ((seeds >= a) & (seeds < b)).sum()
        for a, b in ((0, 40_000), (56_000, 56_400), (60_000, 60_800))
    ]
    assert sum(counts) == len(seeds) and counts[2] >= 500
    annotations = report.Annotations.read()
    child = annotations.of(seeds, "Child")
    assert not (child == 1).any()


def test_pairs_are_shown_above_each_other():
    renders = np.zeros((8, 128, 128, 3), np.uint8)
    student = np.full((8, 64, 64, 3), 200, np.uint8)
    sheet = report.sheet(report.Pictures(np.arange(8), student, renders))
    assert sheet.shape == (128, 512, 3)
    assert (sheet[:64] == 0).all() and (sheet[64:] == 200).all()
    # Twelve are a whole row of eight.
    many = report.Pictures(
        np.arange(12), *(np.repeat(x[:1], 12, axis=0) for x in (student, renders))
    )
    assert report.sheet(many).shape == sheet.shape


def test_inversions_are_shown_below_their_pictures():
    inversion = report.Inversion(
        np.zeros((3, 4, 4, 3), np.uint8),
        {0: np.full((3, 4, 4, 3), 100, np.uint8), 100: np.full((3, 4, 4, 3), 200, np.uint8)},
    )
    sheet = report.inversion_sheet(inversion, num_faces=2)
    corner = sheet[-100:-4, -100:-4]  # enlarged, with margins
    assert (corner == 200).all()
    assert (sheet[-200:-104, -100:-4] == 100).all() and (sheet[-300:-204, -100:-4] == 0).all()
