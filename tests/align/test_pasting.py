import tracemalloc

import numpy as np
import pytest

from sdflow_jax.align import pasting
from sdflow_jax.align.cutting import cut_face
from sdflow_jax.align.geometry import FaceSquare
from sdflow_jax.align.pasting import paste
from tests.align.marked_faces import smooth_photo

PHOTO = smooth_photo(240, 320)
SQUARE = FaceSquare((120.3, 50.6), (100.0, 30.0))


@pytest.mark.parametrize("size", [64, 128, 512])
@pytest.mark.parametrize(
    "square", [SQUARE, FaceSquare((-40.0, -20.0), (150.0, 10.0)), FaceSquare((250, 150), (90, -40))]
)
def test_an_unedited_face_restores_its_photo(square, size):
    pasted = paste(PHOTO, cut_face(PHOTO, square, size), square)
    difference = np.abs(pasted.astype(int) - PHOTO)
    assert difference.max() <= 3 and difference.mean() < 0.3


def test_outside_the_square_the_photo_is_the_same():
    pasted = paste(PHOTO, np.full((32, 32, 3), 255, np.uint8), SQUARE)
    y, x = np.mgrid[0:240, 0:320]
    face = SQUARE.to_face(np.stack([x, y], -1).astype(float))
    outside = ((face < 0) | (face > 1)).any(-1)
    assert outside.sum() > 30_000
    np.testing.assert_array_equal(pasted[outside], PHOTO[outside])
    inside = ((face > 0.11) & (face < 0.89)).all(-1)
    assert (pasted[inside] == 255).all()


def test_the_seam_has_no_step():
    white = np.full((32, 32, 3), 255, np.uint8)
    black = np.zeros_like(PHOTO)
    pasted = paste(black, white, FaceSquare((60.0, 20.0), (200.0, 0.0)))
    assert np.abs(np.diff(pasted.astype(int), axis=1)).max() < 30  # over 20 pixels
    np.testing.assert_array_equal(paste(black, white, SQUARE, feather=0.5)[0], 0)
    for feather in (0.0, 0.6):
        with pytest.raises(ValueError, match="feather"):
            paste(black, white, SQUARE, feather=feather)


def test_faces_beside_each_other_do_not_disturb_each_other():
    left, right = FaceSquare((40.0, 60.0), (120.0, 0.0)), FaceSquare((130.0, 60.0), (120.0, 0.0))
    red, blue = (np.full((16, 16, 3), color, np.uint8) for color in ((200, 0, 0), (0, 0, 200)))
    one = paste(PHOTO, red, left, others=[right])
    both = paste(one, blue, right, others=[left])
    swapped = paste(paste(PHOTO, blue, right, others=[left]), red, left, others=[right])
    np.testing.assert_array_equal(both, swapped)
    np.testing.assert_array_equal(one[:, 146:], PHOTO[:, 146:])  # midway between them
    assert both[120, 100].tolist() == [200, 0, 0] and both[120, 190].tolist() == [0, 0, 200]


def test_a_square_beside_the_photo_changes_nothing():
    face = np.zeros((8, 8, 3), np.uint8)
    np.testing.assert_array_equal(paste(PHOTO, face, FaceSquare((-90.0, 0.0), (50.0, 0.0))), PHOTO)


def test_beside_the_photos_edge_the_photo_stays():
    pasted = paste(
        PHOTO, np.full((32, 32, 3), 255, np.uint8), FaceSquare((-50.0, 60.0), (100.0, 0))
    )
    np.testing.assert_array_equal(pasted[:, 0], PHOTO[:, 0])
    assert (pasted[100:120, 30] > PHOTO[100:120, 30]).all()


# Turned, beyond the photo on two sides, and beside another.
PLACES = [
    (SQUARE, []),
    (FaceSquare((-40.0, -20.0), (150.0, 10.0)), []),
    (FaceSquare((200.0, 150.0), (110.0, -40.0)), [FaceSquare((120.0, 130.0), (90.0, 5.0))]),
]


@pytest.mark.parametrize(("square", "others"), PLACES)
def test_bands_are_as_the_whole(square, others, monkeypatch):
    face = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    monkeypatch.setattr(pasting, "_BAND_PIXELS", 10**9)
    whole = paste(PHOTO, face, square, others=others)
    monkeypatch.setattr(pasting, "_BAND_PIXELS", 1)
    by_rows = paste(PHOTO, face, square, others=others)
    difference = np.abs(by_rows.astype(int) - whole)
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3
    assert (whole != PHOTO).any()


def test_a_large_face_takes_little_memory():
    photo = smooth_photo(2000, 3000)
    face = np.full((256, 256, 3), 255, np.uint8)
    tracemalloc.start()
    try:
        pasted = paste(photo, face, FaceSquare((1500.0, 100.0), (1600.0, 200.0)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (pasted != photo).any()
    assert peak < photo.nbytes + 48 * 2**20  # 250 MB when made as a whole
