"""What the tables and curves need of a run, in one small file that outlives the run's networks."""

import dataclasses
import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sdflow_jax.evaluation.curves import EditOutcomes
from sdflow_jax.evaluation.report import (
    load_outcomes,
    outcome_arrays,
    outcomes_of_arrays,
    save_arrays,
)
from sdflow_jax.evaluation.requests import without_pairs
from sdflow_jax.files.run_config import load_config
from sdflow_jax.methods.registry import load_method
from sdflow_jax.methods.settings import read_shared_settings
from sdflow_jax.study.cost import milliseconds_per_edit
from sdflow_jax.study.execution import (
    core_seconds_spent,
    is_judged,
    results_of,
    steps_behind,
    training_seconds,
)
from sdflow_jax.study.independence import measure_independence
from sdflow_jax.study.plan import FIRST_SEED, Run, Settings

FILE = "record.npz"  # in a run's directory
FOLDER = "records"  # among the results
# To three digits: readings of judges and cosines, which know no fourth. What is counted stays as it was counted.
_ROUNDED = ("identity", "identity_original", "readings", "readings_before")


class RecordError(ValueError):
    """A file is no record; the message is one line that names it."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One run, as the comparison counts it.

    Attributes:
      outcomes: judges -> request -> outcome of every face; readings and cosines to three digits.
      summaries: judges -> the evaluation's summary.
      faces: by the first judges, before any edit: `variables` and `predictions` [f, a], `readings` [f, j].
      probes: arrays of `measure_independence`; None for a method that is no flow.
      attributes: of the method.
      reader: what reads the semantic variables, in words.
      device: that both times below are of.
      training_seconds: by the clock; None if the run was trained elsewhere.
      edit_milliseconds: of one edit.
      core_seconds: of each step, seconds times processor cores.
    """

    outcomes: Mapping[str, Mapping[str, EditOutcomes]]
    summaries: Mapping[str, Mapping[str, Any]]
    faces: Mapping[str, Float[np.ndarray, "f x"]]
    probes: Mapping[str, np.ndarray] | None
    attributes: tuple[str, ...]
    reader: str
    device: str
    training_seconds: float | None
    edit_milliseconds: float
    core_seconds: Mapping[str, float]


def record_file(results: pathlib.Path, run: Run) -> pathlib.Path:
    """Where a run's record lies among the results. Its name tells the config and the networks, so that the record
    of another run is never taken for it.
    """
    return results / FOLDER / f"{run.workdir.name}.npz"


def write_record(run: Run, settings: Settings, directory: pathlib.Path) -> None:
    """Measure what is missing of a run that is trained and evaluated, and write its record into its directory.

    Args:
      run: the run.
      settings: how much was computed.
      directory: of all runs, where the times are.
    """
    precision = read_shared_settings(load_config(run.workdir)).matmul_precision
    jax.config.update("jax_default_matmul_precision", precision)  # as in training and evaluation
    arrays: dict[str, np.ndarray] = {}
    summaries = read_summaries(run, settings)
    for judge in run.judges:
        found = results_of(run, judge, settings)
        outcomes = outcome_arrays(load_outcomes(found / "outcomes.npz"))
        arrays |= {f"{judge}/{key}": _rounded(key, value) for key, value in outcomes.items()}
    with np.load(results_of(run, run.judges[0], settings) / "faces.npz") as faces:
        arrays |= {f"faces/{key}": faces[key].astype(np.float16) for key in faces.files}
    if file := measure_independence(run.workdir, settings.split, settings.num_faces):
        with np.load(file) as probes:
            arrays |= {f"probes/{key}": probes[key] for key in probes.files}
    method = load_method(run.workdir)
    notes = {
        "summaries": summaries,
        "attributes": method.attributes,
        "reader": method.reader,
        "device": jax.devices()[0].device_kind,
        "training_seconds": training_seconds(directory, run),
        "edit_milliseconds": milliseconds_per_edit(run.workdir, settings.split),
        "core_seconds": core_seconds_spent(directory, [run], settings.split),
    }
    save_arrays(run.workdir / FILE, {"notes": np.array(json.dumps(notes)), **arrays})


def read_summaries(run: Run, settings: Settings) -> dict[str, dict[str, Any]]:
    """Judges -> summary of the evaluation, of a run that is evaluated."""
    return {
        judge: json.loads((results_of(run, judge, settings) / "summary.json").read_text())
        for judge in run.judges
    }


def require_one_renderer(records: Mapping[str, Sequence[Record]]) -> None:
    """Refuse records in which the external judges saw the faces of different generators.

    Args:
      records: method -> its record of each seed.

    Raises:
      RecordError: naming two of them.
    """
    drawn: dict[str, str] = {}
    for method, of_method in records.items():
        for seed, record in enumerate(of_method, FIRST_SEED):
            if summary := record.summaries.get("external"):
                drawn.setdefault(summary["renderer"], f"{method}, seed {seed}")
    if len(drawn) > 1:
        first, second, *_ = drawn.values()
        raise RecordError(
            f"the external judges saw faces of one generator for {first} and of another for {second}, so that the two"
            " cannot be compared; is the package of the large pictures, `make .venv/installed-renderer`, installed on"
            " one machine only? Remove the records of one of them"
        )


def require_same_faces(records: Mapping[str, Sequence[Record]]) -> None:
    """Refuse records of one method that count different faces: a face that the judges read at one half may be read to
    either side by another device.

    Args:
      records: method -> its record of each seed.

    Raises:
      RecordError: naming two of them.
    """
    for method, (first, *others) in records.items():
        for seed, record in enumerate(others, FIRST_SEED + 1):
            for judge, outcomes in record.outcomes.items():
                for request, outcome in outcomes.items():
                    counted = first.outcomes[judge][request].is_counted
                    is_known = outcome.is_counted is not None and counted is not None
                    if is_known and not np.array_equal(outcome.is_counted, counted):
                        raise RecordError(
                            f"{request}, judges {judge}: seed {seed} of {method} counts other faces than seed"
                            f" {FIRST_SEED} ({outcome.num_faces} and {np.sum(counted)}); evaluate both on one machine"
                        )


def read_record(file: str | os.PathLike[str], run: Run, settings: Settings) -> Record | None:
    """The record of a run; None if there is none, or one of other settings or judges.

    Args:
      file: as `write_record` wrote it, or a copy.
      run: the run that is asked for.
      settings: how much is to be computed.

    Raises:
      RecordError: if the file is none, or damaged.
    """
    if not os.path.exists(file):
        return None
    try:
        with np.load(file) as arrays:
            notes = json.loads(arrays["notes"].item())
            groups: dict[str, dict[str, np.ndarray]] = {}
            for key in arrays.files:
                group, _, name = key.partition("/")
                groups.setdefault(group, {})[name] = _widened(arrays[key])
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
        raise RecordError(f"{file}: no record, or a damaged one; remove it ({error})") from error
    summaries = notes["summaries"]
    for judge in run.judges:
        if judge not in summaries or not is_judged(summaries[judge], run, judge, settings):
            return None
    return Record(
        {judge: _asked(outcomes_of_arrays(groups[judge]), settings) for judge in run.judges},
        {judge: summaries[judge] for judge in run.judges},
        groups["faces"],
        groups.get("probes"),
        tuple(notes["attributes"]),
        *(notes[key] for key in ("reader", "device", "training_seconds", "edit_milliseconds")),
        {
            step: notes["core_seconds"][step]
            for step in steps_behind(run, settings.split)
            if step in notes["core_seconds"]
        },
    )


def _asked(outcomes: Mapping[str, EditOutcomes], settings: Settings) -> dict[str, EditOutcomes]:
    """Without the edits of pairs that an evaluation made and these settings do not ask for."""
    asked = list(outcomes) if settings.pairs else without_pairs(list(outcomes))
    return {name: outcomes[name] for name in asked}


def _rounded(key: str, value: np.ndarray) -> np.ndarray:
    is_rounded = key.rpartition("/")[2] in _ROUNDED
    return np.round(value, 3).astype(np.float16) if is_rounded else value


def _widened(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype == np.float16 else value
