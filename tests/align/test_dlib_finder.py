import importlib.util
import pathlib
import sys

import numpy as np
import pytest

from sdflow_jax.align.dlib_finder import DlibFinder
from sdflow_jax.align.faces import find_faces
from sdflow_jax.align.finders import load_finder
from sdflow_jax.align.geometry import AlignError
from sdflow_jax.images.reading import read_image

PICTURE = pathlib.Path(__file__).parents[2] / "docs" / "images" / "edits.jpg"
MISSING = [
    package
    for package in ("dlib", "face_recognition_models")
    if importlib.util.find_spec(package) is None
]
needs_dlib = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed; the extra `align` has it"
)


@pytest.fixture(scope="module")
def finder():
    return load_finder("dlib")


@needs_dlib
def test_faces_that_are_aligned_are_found_as_they_lie(finder):
    # Rows of five faces of the pocket world, all aligned and of one size.
    faces = find_faces(read_image(PICTURE), finder)
    assert len(faces) > 30
    sides = np.array([face.square.side for face in faces])
    turns = np.array([face.square.edge[1] for face in faces]) / sides
    assert np.abs(sides / np.median(sides) - 1).max() < 0.2
    assert np.abs(turns).max() < 0.06
    lefts = [face.square.center[0] for face in faces]
    assert lefts == sorted(lefts) and [face.number for face in faces] == [*range(1, len(faces) + 1)]


@needs_dlib
def test_a_picture_without_a_face_has_none(finder):
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    assert find_faces(noise, finder) == []
    assert find_faces(np.zeros((1, 1, 3), np.uint8), finder) == []


def test_what_is_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(AlignError, match=r"needs dlib; `pip install 'sdflow_jax\[align\]'`"):
        DlibFinder()
