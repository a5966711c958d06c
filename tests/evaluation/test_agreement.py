import json

import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.evaluation import JudgeOutputs, Request, observe_faces
from sdflow_jax.evaluation.agreement import agreement
from tests.evaluation.plain_setup import (
    COLUMNS,
    LosingJudges,
    TurningEditor,
    plain_faces,
    plain_setup,
)

YOUNG = Request("Young", ("Young",))


class Contrary:
    """On the host: reads the same pixels, finds Young where it is not, and knows no Eyeglasses."""

    attributes = ("Young", "Male")
    image_size = None

    def judge(self, images):
        pixels = np.asarray(images).reshape(len(images), -1)
        identity = pixels[:, 4:6] / np.linalg.norm(pixels[:, 4:6], axis=1, keepdims=True)
        return JudgeOutputs(np.stack([1 - pixels[:, 2], 1 + pixels[:, 1]], 1) / 2, identity)


class FailingEditor(TurningEditor):
    """Fails to make young those faces whose first identity number is below `least`."""

    def __init__(self, least):
        self.least = least

    def decode(self, code, semantic_variables):
        edited = super().decode(code, semantic_variables)
        has_failed = (semantic_variables[:, 0] > 0.99) & (code[:, 1, 0] < self.least)
        return jnp.where(has_failed[:, None, None], jnp.nan, edited)


ITEMS = plain_faces(np.random.default_rng(0).uniform(0, 0.9, (12, 3)))
for angle, item in enumerate(ITEMS):  # twelve people
    item["w_plus"][1, :2] = np.cos(0.2 * angle), np.sin(0.2 * angle)


def compared(items, method, other=None):
    setup = plain_setup()
    faces, _ = observe_faces(
        setup,
        method,
        items,
        num_faces=len(items),
        num_shown=1,
        prediction_columns=COLUMNS,
        batch_size=4,
    )
    return agreement(setup, other or Contrary(), method, faces, [YOUNG], batch_size=4)


@pytest.fixture(scope="module")
def found():
    return compared(ITEMS, TurningEditor())


def test_judges_who_see_the_same_agree_and_the_contrary_is_told(found):
    assert list(found) == ["unedited", "Young"]
    for entry in found.values():
        assert set(entry) == {"num_faces", "identity_correlation", "Male", "Young"}
        assert entry["num_faces"] == 12
        assert entry["Male"] == {"same_decision": 1.0, "correlation": 1.0}
        assert entry["identity_correlation"] == pytest.approx(1.0)
    assert found["unedited"]["Young"] == {"same_decision": 0.0, "correlation": -1.0}


def test_all_faces_on_one_side_of_an_edit_still_disagree(found):
    # At strength 1 every face is at an end: 0 or 1, the other judge's 1 or 0.
    assert found["Young"]["Young"] == {"same_decision": 0.0, "correlation": -1.0}


def test_faces_whose_edit_failed_are_left_out(found):
    # Older people are edited towards young: these fail where their first identity number is small.
    fails = [x["predictions"][2] <= 0.5 and x["w_plus"][1, 0] < 0.0 for x in ITEMS]
    assert 0 < sum(fails) < 11
    some = compared(ITEMS, FailingEditor(0.0))
    kept = [item for item, has_failed in zip(ITEMS, fails, strict=True) if not has_failed]
    assert some["unedited"] == found["unedited"]
    assert some["Young"] == compared(kept, TurningEditor())["Young"]
    assert some["Young"]["num_faces"] == 12 - sum(fails)


def test_nothing_is_nan_where_every_edit_failed():
    old = [item for item in ITEMS if item["predictions"][2] <= 0.5]
    entry = compared(old, FailingEditor(2.0))["Young"]
    json.dumps(entry, allow_nan=False)
    assert entry["num_faces"] == 0 and entry["identity_correlation"] is None
    assert entry["Young"] == {"same_decision": None, "correlation": None}


def test_faces_that_one_set_does_not_find_are_left_out():
    entry = compared(ITEMS, TurningEditor(), LosingJudges())
    is_old = [item["predictions"][2] <= 0.5 for item in ITEMS]  # edited until they are lost
    assert entry["unedited"]["num_faces"] == 12
    assert entry["Young"]["num_faces"] == 12 - sum(is_old)
    assert entry["Young"]["Male"] == {"same_decision": 1.0, "correlation": 1.0}
    assert entry["Young"]["identity_correlation"] == pytest.approx(1.0)
