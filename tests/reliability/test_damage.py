"""Each kind of damage once or twice, to whichever file; `python -m reliability` does hundreds."""

import random

import pytest

from reliability.damage import KINDS, Trial


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return Trial(tmp_path_factory.mktemp("damage"))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_checkpoint_is_set_aside_and_the_end_is_the_same(trial, kind):
    rng = random.Random(3)
    found = [trial.after(kind, rng) for _ in range(2)]
    assert not any(wrong for _, wrong in found), found


def test_damaged_position_in_the_data_is_found_out(trial):
    # Still a number, so that nothing but the seal could tell.
    def harm(newest):
        (file,) = (newest / "batches").glob("*.json")
        file.write_text(file.read_text().replace("12", "11"))

    assert trial.after_harm(harm) == (8, "")


def test_without_another_checkpoint_training_begins_anew(trial):
    def harm(newest):
        for step in ("8", "12"):
            (newest.parent / step / "notes" / "metadata").write_text("{}")

    assert trial.after_harm(harm) == (0, "")
