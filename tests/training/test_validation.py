import pytest

from sdflow_jax.training.checkpoint import RunCheckpointError
from sdflow_jax.training.csv_file import read_column
from sdflow_jax.training.validation import VALIDATION_FILE, Validation

SCORES = {2: 0.5, 4: 0.8, 6: 0.7, 8: 0.8, 10: 0.9, 11: 0.1}


@pytest.fixture
def watch(tmp_path):
    """A validation of states that are their steps, with scores that are known."""

    def begun(steps_done=0, num_steps=11, scores=SCORES, num_kept=9):
        validation = Validation(
            tmp_path,
            every=2,
            measure=lambda state: {"accuracy": 1.0 - scores[state], "area": scores[state]},
            chosen_by="area",
            save=write,
            shown=("area",),
            num_kept=num_kept,
        )
        validation.begin(steps_done, num_steps)
        return validation

    def write(file, state, step):
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{state} {step}")

    return begun


def test_the_first_of_the_best_is_kept(watch, tmp_path):
    validation = watch()
    for step in (2, 4, 6, 8):
        assert validation.run(step, step) == {"area": SCORES[step]}
    step, file = validation.best()
    assert step == 4 and file.read_text() == "4 4"
    assert read_column(tmp_path / VALIDATION_FILE, "accuracy").keys() == {2, 4, 6, 8}
    validation.run(10, 10)
    assert validation.best()[0] == 10


def test_it_is_due_now_and_then_and_at_the_end(watch):
    assert [step for step in range(1, 12) if watch().is_due(step, 11)] == [2, 4, 6, 8, 10, 11]


def test_a_run_that_goes_back_forgets_what_comes_again(watch, tmp_path):
    for step in (2, 4, 6, 8, 10):
        (first := watch(step - 1)).run(step, step)
    assert first.best()[0] == 10
    again = watch(steps_done=5)
    assert again.best()[0] == 4
    assert list(read_column(tmp_path / VALIDATION_FILE, "area")) == [2, 4]
    # On a device that adds in another order the best may be another.
    again = watch(steps_done=5, scores={**SCORES, 10: 0.79})
    for step in (6, 8, 10):
        again.run(step, step)
    assert again.best()[0] == 4 and len(list((tmp_path / "best").iterdir())) == 2


def test_a_longer_training_forgets_the_end_of_the_shorter_one(watch, tmp_path):
    watch(0).run(2, 2)
    watch(2, num_steps=3, scores={3: 0.95}).run(3, 3)
    validation = watch(3, num_steps=11)
    assert list(read_column(tmp_path / VALIDATION_FILE, "area")) == [2]
    assert validation.best()[0] == 2


def test_files_that_were_removed_are_missed(watch, tmp_path):
    watch().run(2, 2)
    (tmp_path / "best" / "0000002.safetensors").unlink()
    with pytest.raises(
        RunCheckpointError, match="best has none of the networks that .*validation.csv"
    ):
        watch(steps_done=2).best()


def test_few_files_stay(watch, tmp_path):
    validation = watch(num_kept=2)
    for step in (2, 4, 10):
        validation.run(step, step)
    assert sorted(file.stem for file in (tmp_path / "best").iterdir()) == ["0000004", "0000010"]
