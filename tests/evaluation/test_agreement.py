import numpy as np
import pytest

from sdflow_jax.evaluation import Request, Verdict, observe_faces
from sdflow_jax.evaluation.agreement import agreement
from tests.evaluation.plain_world import COLUMNS, TurningEditor, plain_faces, plain_world

YOUNG = Request("Young", ("Young",))


class Contrary:
    """On the host: reads the same pixels, finds Young where it is not, and knows no Eyeglasses."""

    attributes = ("Young", "Male")

    def judge(self, images):
        pixels = np.asarray(images).reshape(len(images), -1)
        identity = pixels[:, 4:6] / np.linalg.norm(pixels[:, 4:6], axis=1, keepdims=True)
        return Verdict(np.stack([1 - pixels[:, 2], 1 + pixels[:, 1]], 1) / 2, identity)


@pytest.fixture(scope="module")
def found():
    world, method = plain_world(), TurningEditor()
    items = plain_faces(np.random.default_rng(0).uniform(0, 1, (12, 3)))
    for angle, item in enumerate(items):  # twelve people
        item["w_plus"][1, :2] = np.cos(0.2 * angle), np.sin(0.2 * angle)
    faces, _ = observe_faces(
        world,
        method,
        items,
        num_faces=12,
        num_shown=1,
        prediction_columns=COLUMNS,
        batch_size=4,
    )
    return agreement(world, Contrary(), method, faces, [YOUNG], batch_size=4)


def test_judges_who_see_the_same_agree_and_the_contrary_is_told(found):
    assert list(found) == ["unedited", "Young"]
    for entry in found.values():
        assert set(entry) == {"identity_correlation", "Male", "Young"}
        assert entry["Male"] == {"same_decision": 1.0, "correlation": 1.0}
        assert entry["identity_correlation"] == pytest.approx(1.0)
    assert found["unedited"]["Young"] == {"same_decision": 0.0, "correlation": -1.0}


def test_all_faces_on_one_side_of_an_edit_still_disagree(found):
    # At strength 1 every face is at an end: 0 or 1, the other judge's 1 or 0.
    assert found["Young"]["Young"] == {"same_decision": 0.0, "correlation": -1.0}
