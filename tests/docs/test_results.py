"""What is written by hand about the comparison is what its tables say."""

import csv
import pathlib
import re

import pytest

from sdflow_jax.study.pairs import count, read_observers

RESULTS = pathlib.Path(__file__).parents[2] / "docs" / "results"
_NUMBER = r"([+\-−]?\d+(?:\.\d+)?)(%?)"
_WITH_INTERVAL = re.compile(
    rf"{_NUMBER}( points)?\s+\[{_NUMBER},\s+{_NUMBER}\]".replace(" points", r"\s+points")
)


def numbers_in(text: str) -> list[tuple[str, tuple[float, ...]]]:
    """Each number with an interval: as it stands, and as fractions."""
    found = []
    for match in _WITH_INTERVAL.finditer(text):
        value, percent, points, low, _, high, _ = match.groups()
        scale = 0.01 if percent or points else 1.0
        fractions = [scale * float(x.replace("−", "-")) for x in (value, low, high)]
        found.append((match.group(), tuple(round(x, 4) for x in fractions)))
    return found


def test_numbers_are_read_however_they_are_written():
    text = "96.0%\n[94.3%, 97.7%], −1.7 points [−4.0, 0.2] and +0.5 [-0.25, +1.0], no 3 [4]"
    assert [numbers for _, numbers in numbers_in(text)] == [
        (0.96, 0.943, 0.977),
        (-0.017, -0.04, 0.002),
        (0.5, -0.25, 1.0),
    ]


READINGS = sorted(RESULTS.rglob("reading.md"))


def test_there_is_a_reading():
    assert RESULTS / "reading.md" in READINGS


@pytest.mark.parametrize("reading", READINGS, ids=lambda path: path.parent.name)
def test_numbers_of_the_reading_are_among_those_of_the_tables(reading):
    """A slip of the pen, or a page made anew beside an old reading; whose number it is, only a reader can tell."""
    page = (reading.parent / "README.md").read_text()
    words = f"\n## Reading\n\n{reading.read_text().strip()}\n"
    assert words in page
    tables = page.replace(words, "") + (reading.parent / "tables.md").read_text()
    pairs = RESULTS / "pairs"
    with (pairs / "key.csv").open(newline="") as file:
        key = list(csv.DictReader(file))
    tables += count(key, read_observers(sorted(pairs.glob("observer*.csv"))))
    known = {numbers for _, numbers in numbers_in(tables)}
    known |= {(-value, -high, -low) for value, low, high in known}  # the other way round
    read = numbers_in(reading.read_text())
    assert len(read) > 10
    assert [words for words, numbers in read if numbers not in known] == []
    others = _WITH_INTERVAL.sub("", reading.read_text())
    alone = re.findall(r"(?<![\w.])\d+\.\d+%?|(?<![\w.])\d{3,}(?![\d.])", others)
    assert alone and [number for number in alone if number not in tables] == []
