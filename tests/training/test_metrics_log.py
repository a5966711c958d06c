import csv
import io
import math
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from sdflow_jax.training.metrics_log import MetricsLog, TrainingDiverged
from tests.full_disk import full_disk


def _log(workdir, steps_done=0, **settings):
    requirements = {"success": "not solved; raise max_steps"}
    defaults = {"num_steps": 10, "batch_size": 4, "log_every": 2, "requirements": requirements}
    return MetricsLog(workdir, steps_done=steps_done, **{**defaults, **settings})


def _measured(loss, success=True):
    return {
        "loss": jnp.float32(loss),
        "evaluations_forward": jnp.int32(13),
        "success": jnp.asarray(success),
    }


def _rows(workdir: pathlib.Path):
    with (workdir / "metrics.csv").open() as file:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]


def test_rows_are_means_over_the_interval(tmp_path):
    log = _log(tmp_path)
    for step in range(1, 6):
        log.add(step, _measured(step**2))
    log.flush()
    log.close()
    assert _rows(tmp_path) == [(2, 2.5), (4, 12.5)]
    with (tmp_path / "metrics.csv").open() as file:
        row = next(csv.DictReader(file))
    columns = {"step", "loss", "evaluations_forward", "skipped", "images_per_second"}
    assert set(row) == columns and row["skipped"] == "0"
    assert float(row["images_per_second"]) > 0 and row["evaluations_forward"] == "13"
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_no_measurement_is_waited_for_when_it_is_added(tmp_path):
    class Pending:
        def __array__(self, *_, **__):
            raise AssertionError("fetched too early")

    log = _log(tmp_path)
    log.add(1, {"loss": Pending(), "success": True})
    log.add(2, {"loss": Pending(), "success": True})
    log.close()


def test_continued_log_equals_an_uninterrupted_one(tmp_path):
    whole = _log(tmp_path / "whole")
    for step in range(1, 9):
        whole.add(step, _measured(step))
    whole.flush()
    whole.close()

    first = _log(tmp_path / "parts")
    for step in range(1, 6):
        first.add(step, _measured(step))
        if step == 3:  # a checkpoint, in the middle of a row
            first.flush()
            unfinished = first.unfinished()
    first.flush()
    first.close()
    with (tmp_path / "parts" / "metrics.csv").open("a") as file:
        file.write("6,1")  # cut short by a kill
    second = _log(tmp_path / "parts", steps_done=3, unfinished=unfinished)
    for step in range(4, 9):
        second.add(step, _measured(step))
    second.flush()
    second.close()
    assert _rows(tmp_path / "parts") == _rows(tmp_path / "whole")


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        (_measured(math.nan), "step 3: loss not finite.*learning_rate"),
        (_measured(math.inf), "step 3: loss not finite"),
        (_measured(1.0, success=False), "step 3: .*not solved.*max_steps"),
    ],
)
def test_bad_step_stops_training_and_is_named(tmp_path, measured, message):
    log = _log(tmp_path)
    log.add(1, _measured(1.0))
    log.add(2, _measured(1.0))
    log.add(3, measured)
    with pytest.raises(TrainingDiverged, match=message):
        log.flush()
    log.close()


def _skipped(loss=math.nan, **measured):
    return {**_measured(loss), **measured, "is_skipped": jnp.asarray(True)}


def test_skipped_steps_are_counted_and_said_and_not_averaged(tmp_path, capsys):
    log = _log(tmp_path, log_every=4)
    for step, loss in enumerate([1.0, math.nan, 3.0, math.inf, math.nan, math.nan, math.nan], 1):
        measured = _measured(loss) if math.isfinite(loss) else _skipped(loss)
        log.add(step, measured, {"w_plus": np.array([[1.0], [math.nan]])})
    log.flush()
    assert log.unfinished()["in_a_row"] == 4 and log.unfinished()["skipped"] == 3
    said = capsys.readouterr().err
    assert "skipped step 2: loss not finite" in said and "evaluations_forward 13" in said
    assert "w_plus in [1, 1] but not finite in rows 1" in said
    continued = _log(tmp_path, log_every=4, steps_done=7, unfinished=log.unfinished())
    with pytest.raises(
        TrainingDiverged, match="5 steps in a row were skipped, the last of them step 8"
    ):
        continued.add(8, _skipped(1.0, success=jnp.asarray(False)))
        continued.flush()
    log.close()
    continued.close()
    with (tmp_path / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["loss"]) == 2.0 and row["skipped"] == "2"


def test_steps_skipped_with_finite_measurements_are_said_too(tmp_path, capsys):
    log = _log(tmp_path)
    with pytest.raises(TrainingDiverged, match="5 steps in a row were skipped"):
        for step in range(1, 6):
            log.add(step, _skipped(1.0))
        log.flush()
    assert "skipped step 1: the step's result was not valid" in capsys.readouterr().err
    log.close()


def test_silent_log_writes_nothing_but_still_checks(tmp_path):
    log = _log(tmp_path, is_silent=True)
    log.add(1, _measured(1.0))
    log.add(2, _measured(np.nan))
    with pytest.raises(TrainingDiverged):
        log.flush()
    log.close()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())  # pytest's is a file that would be full, too
    log = _log(tmp_path, log_every=1)
    with full_disk(0):
        with pytest.raises(OSError, match=r"File too large: .*metrics\.csv"):
            for step in range(1, 9):
                log.add(step, _measured(step))
        with pytest.raises(OSError, match=f"File too large: .*{tmp_path.name}"):
            log.close()
