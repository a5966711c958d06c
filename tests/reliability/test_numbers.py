"""The loop of a training under harmful batches, on a model that compiles in a second."""

import random

import pytest

from reliability import numbers, small_training
from reliability.small_training import HARMS


@pytest.fixture(scope="module")
def begun():
    return small_training.begin()


def test_harmed_batches_are_as_if_they_were_not_there(tmp_path, begun):
    rng = random.Random(0)
    harms = [kind and rng.randint(1, 4) for kind in numbers.scattered(1, 12, rng)]
    assert set(harms) == set(range(len(HARMS)))
    assert numbers.skipped_as_if_not_there(tmp_path, harms, begun) == ""


@pytest.mark.parametrize("kind", range(1, len(HARMS)), ids=HARMS[1:])
def test_harm_without_end_ends_with_a_diagnosis(tmp_path, begun, kind):
    assert numbers.ends_with_a_diagnosis(tmp_path, kind, begun) == ""
