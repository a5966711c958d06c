"""`tuning.csv`: a row for each trial, the record by which settings are chosen and trials not repeated."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from sdflow_jax.files.atomic import write_text
from sdflow_jax.study.scoring import Score

TABLE = "tuning.csv"

_FIRST = ("method", "trial", "settings")
_LAST = ("identity", "attributes", "score", "seconds", "chosen", "note", "digest")

Row = dict[str, str]


def scored_row(
    method: str,
    trial: int,
    settings: Mapping[str, Any],
    digest: str,
    score: Score | None,
    seconds: float | None,
    note: str = "",
) -> Row:
    """The row of one trial.

    Args:
      method: its method.
      trial: its number.
      settings: by which it differs from the method's config.
      digest: of everything that decides the row.
      score: None of a trial that gave nothing to measure.
      seconds: that it took, by the clock.
      note: why there is no score.
    """
    row = {
        "method": method,
        "trial": str(trial),
        "settings": json.dumps(settings),
        "seconds": "" if seconds is None else f"{seconds:.0f}",
        "chosen": "",
        "note": note,
        "digest": digest,
    }
    if score is not None:
        row |= {f"reach {request}": f"{x:.4f}" for request, x in score.reach.items()}
        row |= {measure: f"{x:.4f}" for measure, x in score.preservation.items()}
        row["score"] = f"{score.value:.4f}"
    return row


def read_table(path: str | os.PathLike[str]) -> list[Row]:
    """The rows of the file; none where there is no file."""
    path = pathlib.Path(path)
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: str | os.PathLike[str], rows: Iterable[Row]) -> None:
    """Write the rows, atomically, with the columns of all of them."""
    rows = list(rows)
    reaches = dict.fromkeys(key for row in rows for key in row if key.startswith("reach "))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*_FIRST, *reaches, *_LAST], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, stream.getvalue())


def choose(rows: Iterable[Row], counts: Mapping[str, int]) -> list[Row]:
    """The rows with "yes" under `chosen` for the highest score of every method.

    The earliest trial wins among equals. Nothing is chosen of a method before all of its trials are there,
    or if none of them has a score.

    Args:
      rows: of any methods, in the order of trials.
      counts: method -> its number of trials.
    """
    rows = [{**row, "chosen": ""} for row in rows]
    for method, count in counts.items():
        own = [row for row in rows if row["method"] == method]
        scored = [row for row in own if row.get("score")]
        if len(own) == count and scored:
            max(scored, key=lambda row: float(row["score"]))["chosen"] = "yes"
    return rows


def best_of(path: str | os.PathLike[str], methods: Iterable[str]) -> str | None:
    """The method of the highest chosen score among these, the first among equals; None if there is none."""
    wanted = list(methods)
    chosen = [row for row in read_table(path) if row["chosen"] == "yes" and row["method"] in wanted]
    chosen.sort(key=lambda row: wanted.index(row["method"]))
    return max(chosen, key=lambda row: float(row["score"]))["method"] if chosen else None


def chosen_settings(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Method -> by which config values the chosen trial differs from the method's config; only methods of
    which one was chosen.
    """
    return {
        row["method"]: json.loads(row["settings"])
        for row in read_table(path)
        if row["chosen"] == "yes"
    }
