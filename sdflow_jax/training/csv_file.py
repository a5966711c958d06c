"""Measurements by step in a CSV file, from which a run that goes on drops what it will measure again."""

import csv
import io
import pathlib
from collections.abc import Callable, Mapping

from sdflow_jax.files.atomic import naming, write_text


class CsvFile:
    """A CSV file whose first column is a step; it is appended to and flushed at every row.

    Args:
      path: the file.
      keeps: whether the row of a step, of a run that goes on, stays.

    Raises:
      OSError: naming the file, here and in every method, if the disk is full or may not be written.
    """

    def __init__(self, path: pathlib.Path, *, keeps: Callable[[int], bool]):
        kept = _kept_rows(path, keeps) if path.exists() else []
        text = io.StringIO()
        csv.writer(text).writerows(kept)
        write_text(path, text.getvalue())
        self._columns = kept[0] if kept else None
        self._path = path
        self._file = path.open("a", newline="")
        self._writer = csv.writer(self._file)

    def write(self, row: Mapping[str, float]) -> None:
        """Append a row; all have the columns of the first, of which `step` comes first."""
        if self._columns is None:
            self._columns = list(row)
            self._writer.writerow(self._columns)
        values = [str(row["step"]), *(f"{row[name]:.8g}" for name in self._columns[1:])]
        with naming(self._path):
            self._writer.writerow(values)
            self._file.flush()

    def close(self) -> None:
        """Write what is still buffered."""
        with naming(self._path):
            self._file.close()


def read_column(path: pathlib.Path, name: str) -> dict[int, float]:
    """Step -> value, of a column of a file that `CsvFile` has written; empty where there is no row."""
    with path.open(newline="") as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file)}


def _kept_rows(path: pathlib.Path, keeps: Callable[[int], bool]) -> list[list[str]]:
    """The header and the rows that stay; none if only a header or less would stay."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    # A kill can cut the last line short; rows up to a checkpoint are whole, since they were flushed
    # before it.
    kept = [row for row in rows[1:] if len(row) == len(rows[0]) and keeps(int(row[0]))]
    return [rows[0], *kept] if kept else []
