"""What people have said of pictures: CelebA's `list_attr_celeba.txt`, or a CSV file of the same.

Three forms are read, told apart by their beginnings:

  text   as CelebA publishes it: a line with the number of images, a line with the names of the
         attributes, then a line for each image, its name and its labels, with spaces or tabs between
         them; without the number, or with a name for the images' column, all the same
  wide   CSV: a header of `image` (whatever it is called) and attributes, then a row for each image
  long   CSV: a header `image,attribute,value`, then a row for each label

A label is 1 where the face has the attribute and -1 (as in CelebA) or 0 where it has not; one that
is empty, `?` or `nan` is unknown.
"""

import csv
import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int8

from sdflow_jax.data.findings import Findings
from sdflow_jax.data.image_source import DataError
from sdflow_jax.data.text_lines import Line, read_lines

UNKNOWN = -1

_UNKNOWN_WORDS = ("", "?", "nan", "NaN", "NA")
_WORDS = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1}
_LONG_HEADER = ["image", "attribute", "value"]
# Names of the first column in tables with white space between the columns; CelebA's own has none.
_IMAGE_COLUMNS = ("image", "images", "image_id", "file", "filename", "file_name", "name", "path")


@dataclasses.dataclass(frozen=True)
class AttributeLabels:
    """Labels of pictures.

    Attributes:
      images: the pictures' names, each once.
      attributes: names of the columns.
      values: 1 has it, 0 has it not, `UNKNOWN` where nobody has said.
      years: each face's age, NaN where unknown; None where no age was asked for.
    """

    images: tuple[str, ...]
    attributes: tuple[str, ...]
    values: Int8[np.ndarray, "n a"]
    years: Float32[np.ndarray, " n"] | None = None

    def take(self, rows: Sequence[int]) -> "AttributeLabels":
        """Some of the pictures, in the given order."""
        return AttributeLabels(
            tuple(self.images[row] for row in rows),
            self.attributes,
            self.values[list(rows)],
            None if self.years is None else self.years[list(rows)],
        )


class _Table(NamedTuple):
    """A file as words: the names of its columns, and for each of its images the words of its row."""

    columns: list[str]
    rows: dict[str, list[str]]


def read_labels(
    path: str | os.PathLike[str], attributes: Sequence[str] = (), *, age_column: str = ""
) -> AttributeLabels:
    """Read a file of labels in one of the three forms.

    Args:
      path: the file.
      attributes: those to read, in this order; none means all that the file has.
      age_column: name of the column that holds years instead of labels; empty for none.

    Raises:
      DataError: naming the file, with a line for every kind of mistake: attributes that it has not,
        lines of another length, images that are listed twice (and whether their labels agree),
        words that are no labels, a count that does not hold.
    """
    lines = read_lines(path)
    findings = Findings(path)
    if ";" in lines[0].text and "," not in lines[0].text:
        raise DataError(
            f"{path}: expected commas between the columns, or white space; the first line has semicolons"
        )
    table = (_csv if "," in lines[0].text else _published_text)(lines, findings)
    names = _named(table.columns, attributes, age_column, path)
    findings.finish()  # rows of the wrong length have no columns to speak of
    chosen = [table.columns.index(name) for name in names]
    values = _values(table.rows, chosen, findings)
    years = _years(table, age_column, findings) if age_column else None
    findings.finish()
    return AttributeLabels(tuple(table.rows), names, values, years)


def _named(
    columns: Sequence[str], attributes: Sequence[str], age_column: str, path: str | os.PathLike[str]
) -> tuple[str, ...]:
    """The attributes to read, all of which the file has."""
    known = [name for name in columns if name != age_column]
    wanted = [*attributes, *([age_column] if age_column else [])]
    if missing := [name for name in wanted if name not in columns]:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; its columns are {', '.join(columns)}"
        )
    names = tuple(attributes or known)
    # A network file names its attributes with commas between them.
    if bad := [name for name in names if not name or "," in name or names.count(name) > 1]:
        raise DataError(
            f"{path}: expected attributes with different names, and no comma in them; got"
            f" {', '.join(map(repr, bad))}"
        )
    if not names:
        raise DataError(f"{path} names no attribute")
    return names


def _published_text(lines: Sequence[Line], findings: Findings) -> _Table:
    count = int(lines[0].text) if lines[0].text.isdigit() else None
    header, *body = lines[count is not None :] or [Line(0, "")]
    columns = header.text.split()
    if columns and columns[0].lower() in _IMAGE_COLUMNS:
        columns = columns[1:]
    rows: dict[str, list[str]] = {}
    for line in body:
        name, *words = line.text.split()
        _add(rows, name, words, line.number, len(columns), findings)
    if count is not None and count != len(body):
        findings.add(
            "count does not hold",
            f"line {lines[0].number} announces {count} images, {len(body)} lines follow",
        )
    return _Table(columns, rows)


def _csv(lines: Sequence[Line], findings: Findings) -> _Table:
    words = _split_csv(lines)
    _, header = next(words, (0, []))  # none in a file of commas
    if [name.lower() for name in header] == _LONG_HEADER:
        return _long(words, findings)
    rows: dict[str, list[str]] = {}
    for number, (name, *labels) in words:
        _add(rows, name, labels, number, len(header) - 1, findings)
    return _Table(header[1:], rows)


def _split_csv(lines: Sequence[Line]) -> Iterator[tuple[int, list[str]]]:
    """Line by line, so that a quote left open spoils one line only."""
    for line in lines:
        words = [word.strip() for word in next(csv.reader([line.text]))]
        if any(words):  # spreadsheets leave rows of commas
            yield line.number, words


def _long(words: Iterator[tuple[int, list[str]]], findings: Findings) -> _Table:
    columns: dict[str, int] = {}
    labels: dict[str, dict[str, str]] = {}
    for number, row in words:
        if len(row) != len(_LONG_HEADER):
            findings.add("lines are not image, attribute, value", f"line {number}")
            continue
        image, attribute, value = row
        if not image:
            findings.add("lines name no image", f"line {number}")
            continue
        columns.setdefault(attribute, len(columns))
        known = labels.setdefault(image, {})
        if attribute in known:
            _complain_of_second("labels", f"{image} {attribute}", known[attribute], value, findings)
        known.setdefault(attribute, value)
    rows = {image: [known.get(name, "") for name in columns] for image, known in labels.items()}
    return _Table(list(columns), rows)


def _add(
    rows: dict[str, list[str]],
    name: str,
    words: list[str],
    number: int,
    num_columns: int,
    findings: Findings,
) -> None:
    if not name:
        findings.add("lines name no image", f"line {number}")
    elif len(words) != num_columns:
        kind = f"lines have not one label for each of the {num_columns} columns"
        findings.add(kind, f"line {number} ({name}) has {len(words)}")
    elif name in rows:
        _complain_of_second("images", name, rows[name], words, findings)
    else:
        rows[name] = words


def _complain_of_second(
    what: str, name: str, first: str | list[str], second: str | list[str], findings: Findings
) -> None:
    kind = "listed twice" if first == second else "listed twice, with labels that contradict"
    findings.add(f"{what} are {kind}", name)


def _values(
    rows: dict[str, list[str]], chosen: Sequence[int], findings: Findings
) -> Int8[np.ndarray, "n a"]:
    """The labels of some columns, with CelebA's -1 as 0 and `UNKNOWN` where nobody has said."""
    unknown = -2  # while -1 still is a label
    codes = {**_WORDS, **dict.fromkeys(_UNKNOWN_WORDS, unknown)}
    raw = np.empty((len(rows), len(chosen)), np.int8)
    for place, (name, words) in enumerate(rows.items()):
        try:
            raw[place] = [codes[words[column]] for column in chosen]
        except KeyError as error:
            findings.add("images have labels other than 1, 0, -1 or nothing", f"{name} {error}")
    findings.finish()
    if (raw == -1).any() and (raw == 0).any():
        place = int(np.flatnonzero((raw == 0).any(1))[0])
        findings.add(
            "file has both -1 and 0, of which either could mean that the attribute is not there;"
            " leave unknown labels empty",
            f"0 at {list(rows)[place]}",
        )
    return np.select([raw == unknown, raw == 1], [UNKNOWN, 1], 0).astype(np.int8)


def _years(table: _Table, column: str, findings: Findings) -> Float32[np.ndarray, " n"]:
    place = table.columns.index(column)
    years = np.full(len(table.rows), np.nan, np.float32)
    for row, (name, words) in enumerate(table.rows.items()):
        if words[place] in _UNKNOWN_WORDS:
            continue
        try:
            years[row] = float(words[place])
        except ValueError:
            years[row] = math.inf
        if not 0 <= years[row] < math.inf:
            findings.add(f"images have no age in years in {column}", f"{name} {words[place]!r}")
    return years
