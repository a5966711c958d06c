import numpy as np
import pytest

from sdflow_jax.data.annotation_cache import AnnotationCache

IDS = np.array([4, 7])
IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
ANNOTATIONS = np.ones((2, 3, 4), np.float32), np.array([[0.25], [0.5]], np.float32)


@pytest.fixture
def kept(tmp_path):
    kept = AnnotationCache(tmp_path / "kept")
    kept.save("train-0", IDS, IMAGES, ANNOTATIONS)
    return kept


def test_batch_is_given_back_for_its_own_faces_only(kept):
    for found, saved in zip(kept.load("train-0", IDS, IMAGES), ANNOTATIONS, strict=True):
        np.testing.assert_array_equal(found, saved)
    assert kept.load("train-1", IDS, IMAGES) is None
    assert kept.load("train-0", IDS + 1, IMAGES) is None
    assert kept.load("train-0", IDS[:1], IMAGES[:1]) is None
    assert kept.load("train-0", IDS, IMAGES + 1) is None


def test_killed_write_leaves_the_old_batch(kept, tmp_path):
    (tmp_path / "kept" / "train-0.partial").write_bytes(b"half")
    assert kept.load("train-0", IDS, IMAGES) is not None
    kept.save("train-0", IDS, IMAGES + 1, ANNOTATIONS)
    assert kept.load("train-0", IDS, IMAGES) is None
    assert kept.load("train-0", IDS, IMAGES + 1) is not None
    assert [file.name for file in (tmp_path / "kept").iterdir()] == ["train-0"]


def test_nothing_is_left_when_all_is_removed(kept, tmp_path):
    kept.remove()
    assert not (tmp_path / "kept").exists()
    kept.remove()
    assert kept.load("train-0", IDS, IMAGES) is None
