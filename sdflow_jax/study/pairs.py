"""An independent look: pairs of edits for people, who do not know which method made which.

    python -m sdflow_jax.study.pairs make --ours=RUN --other=RUN --out=pairs --key=key.csv
    python -m sdflow_jax.study.pairs count --key=key.csv answers_of_anna.csv answers_of_ben.csv

The first makes forty pictures: a face, and the same edit of it by two methods, A and B. Both edits are of
equal strength for the judge: each goes as far as it takes for the judge's reading to be at 90% of what was
asked. Order and faces are drawn with a seed. `--key` says which is which and is kept from the observers. Their
answers are CSV files with the columns `pair`, `person` and `real`, in which A, B or = stands: who is more
the same person, and who looks more real. The second command counts them. An observer is called as the file
of the answers is, or by its whole path where two files have one name.
"""

import argparse
import csv
import dataclasses
import io
import pathlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Bool, Float, UInt8
from scipy.stats import binomtest

from sdflow_jax.evaluation import (
    EvaluationSetup,
    Request,
    SourceFaces,
    observe_faces,
    requests_for,
    target_variables,
)
from sdflow_jax.evaluation.opened_run import open_run, require_judges
from sdflow_jax.evaluation.strength_sweep import (
    counted_faces,
    edit_latents,
    judge_columns,
    judge_targets,
)
from sdflow_jax.files.atomic import write_text
from sdflow_jax.files.pictures import write_png
from sdflow_jax.files.run_config import load_config, with_networks
from sdflow_jax.images.batching import map_batches
from sdflow_jax.images.grids import labeled_rows
from sdflow_jax.images.pixels import to_bytes
from sdflow_jax.images.precision import in_float32
from sdflow_jax.methods.method import EditingMethod
from sdflow_jax.methods.registry import load_method
from sdflow_jax.methods.settings import read_shared_settings
from sdflow_jax.study.tables import markdown_table

NUM_PAIRS = 40
READING = 0.9
QUESTIONS = {"person": "keeps the person better", "real": "looks more real"}
KEY_COLUMNS = ("pair", "face", "edit", "A", "B", "reading_A", "reading_B")
_MAJORITY, _UNDECIDED = "majority", "undecided"
_ENCODING = "utf-8-sig"  # Excel begins its files with a mark of the encoding
_STRENGTHS = np.array(
    [0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.4, 1.7, 2, 2.5, 3, 4, 6]
)
_HALVINGS = 6  # of the way between two of them
_NEAR = 0.03  # a reading at most so far from `READING` counts as equal
_BATCH_SIZE = 20


@dataclasses.dataclass(frozen=True)
class Edits:
    """One request, by one method, of every face, where the judge's reading is at `READING`.

    Attributes:
      latents: edited, [f, n, d].
      readings: the least of the judge's probabilities of what was asked, [f].
      is_there: whether the reading is near enough, [f].
    """

    latents: Float[np.ndarray, "f n d"]
    readings: Float[np.ndarray, " f"]
    is_there: Bool[np.ndarray, " f"]


def asked_for(
    probabilities: Float[np.ndarray, "f j"],
    is_on: Bool[np.ndarray, "f k"],
    judged: Sequence[int],
) -> Float[np.ndarray, " f"]:
    """The least of the judge's probabilities of what was asked: the opposite of `is_on`.

    Args:
      probabilities: of all the judge's attributes.
      is_on: whether a face had the requested attributes.
      judged: the columns of the requested attributes among the judge's.
    """
    of_request = probabilities[:, list(judged)]
    return np.where(is_on, 1.0 - of_request, of_request).min(1)


def edit_to_reading(
    setup: EvaluationSetup, method: EditingMethod, faces: SourceFaces, request: Request
) -> Edits:
    """Edit every face as far as it takes for the judge to read what was asked at `READING`."""
    columns = [method.attributes.index(name) for name in request.attributes]
    is_edited = np.isin(np.arange(len(method.attributes)), columns)
    judged = judge_columns(setup.judges, request)
    is_on = faces.is_on[:, columns]

    def targets_of(strengths: Float[np.ndarray, " f"]) -> Float[np.ndarray, "f a"]:
        variables, before = faces.semantic_variables, faces.is_on
        return np.concatenate(
            [
                target_variables(variables[i : i + 1], before[i : i + 1], strength, is_edited)
                for i, strength in enumerate(strengths)
            ]
        )

    def read(strengths: Float[np.ndarray, " f"]) -> Float[np.ndarray, " f"]:
        outputs = judge_targets(
            setup,
            method,
            faces.code,
            targets_of(strengths),
            batch_size=_BATCH_SIZE,
            what=request.name,
        )
        return asked_for(outputs.probabilities, is_on, judged)

    count = len(is_on)
    low, high = np.zeros(count), np.full(count, np.nan)  # between which the reading is reached
    for strength in _STRENGTHS:
        try:
            has_reached = read(np.full(count, strength)) >= READING
        except FloatingPointError:  # far from where a flow was trained
            break
        high = np.where(has_reached & np.isnan(high), strength, high)
        low = np.where(np.isnan(high), strength, low)
        if np.isfinite(high).all():
            break
    is_bracketed = np.isfinite(high)
    high = np.where(is_bracketed, high, low)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        has_reached = read(middle) >= READING
        low, high = np.where(has_reached, low, middle), np.where(has_reached, middle, high)
    readings = read(high)
    latents = map_batches(
        lambda code, targets: edit_latents(method, code, targets)[0],
        _BATCH_SIZE,
        faces.code,
        targets_of(high),
    )
    return Edits(latents, readings, is_bracketed & (np.abs(readings - READING) <= _NEAR))


@in_float32
def make_pairs(
    ours: pathlib.Path,
    other: pathlib.Path,
    directory: pathlib.Path,
    key: pathlib.Path,
    *,
    num_pairs: int = NUM_PAIRS,
    num_faces: int = 60,
    split: str = "test",
    seed: int = 0,
    networks: Sequence[str] = (),
) -> int:
    """Write `pair01.png` and so on, and the key; pictures of an earlier call are removed.

    Single edits and the edit of all attributes take turns; no face comes twice with one edit.

    Args:
      ours: directory of a finished run.
      other: of another, in the same world.
      directory: of the pictures.
      key: file that says which is which.
      num_pairs: how many pairs are wanted.
      num_faces: how many faces are tried.
      split: where they come from.
      seed: of faces and order.
      networks: ROLE=FILE for each network in place of the config's, the judges above all.

    Raises:
      ConfigError: if a judge is missing.

    Returns:
      How many pairs there are: fewer where too few faces can be edited by both to equal readings.
    """
    run = read_shared_settings(with_networks(load_config(ours), networks))
    require_judges(run.networks)
    opened = open_run(run, ours, split)
    setup, items = opened.setup, opened.faces
    methods = [load_method(ours), load_method(other)]
    observed = [
        observe_faces(
            setup,
            method,
            items,
            num_faces=num_faces,
            num_shown=1,
            prediction_columns=opened.columns_of(method.attributes),
            batch_size=_BATCH_SIZE,
        )[0]
        for method in methods
    ]
    random = np.random.default_rng(seed)
    requests = requests_for(run.attributes)
    waiting: dict[str, list[int]] = {}
    edits: dict[str, list[Edits]] = {}
    for request in requests:
        columns = [methods[0].attributes.index(name) for name in request.attributes]
        is_counted = counted_faces(observed[0], columns, judge_columns(setup.judges, request))
        edits[request.name] = [
            edit_to_reading(setup, method, faces, request)
            for method, faces in zip(methods, observed, strict=True)
        ]
        usable = is_counted & edits[request.name][0].is_there & edits[request.name][1].is_there
        waiting[request.name] = random.permutation(np.flatnonzero(usable)).tolist()
        logging.info("%s: %d faces by both", request.name, usable.sum())
    rows, chosen = [], []
    while len(rows) < num_pairs and any(waiting.values()):
        for request in requests:
            if not waiting[request.name] or len(rows) == num_pairs:
                continue
            face = waiting[request.name].pop()
            order = random.permutation(2)
            pair = [edits[request.name][i] for i in order]
            chosen.append((face, pair))
            names = [("ours", "other")[i] for i in order]
            readings = [f"{edit.readings[face]:.3f}" for edit in pair]
            rows.append([len(rows) + 1, face, request.name, *names, *readings])

    def pictures() -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        for face, pair in chosen:
            latents = [items[face]["w_plus"][None], *(edit.latents[face][None] for edit in pair)]
            yield _picture([to_bytes(setup.whole_faces(x))[0] for x in latents])

    write_pairs(pictures(), rows, directory, key)
    return len(rows)


def write_pairs(
    pictures: Iterable[UInt8[np.ndarray, "h w 3"]],
    rows: Sequence[Sequence[Any]],
    directory: pathlib.Path,
    key: pathlib.Path,
) -> None:
    """Write the pictures in place of earlier ones, and then the key.

    The earlier key goes first, so that no key ever lies beside pictures that are not its own.

    Args:
      pictures: in the order of the rows, drawn one at a time.
      rows: of the key, with the columns `KEY_COLUMNS`.
      directory: of the pictures.
      key: its file.
    """
    key.unlink(missing_ok=True)
    for file in directory.glob("pair*.png"):
        if re.fullmatch(r"pair\d{2,}\.png", file.name):
            file.unlink()
    for (number, *_), picture in zip(rows, pictures, strict=True):
        write_png(directory / f"pair{number:02d}.png", picture)
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([KEY_COLUMNS, *rows])
    write_text(key, stream.getvalue())


def _picture(images: Sequence[UInt8[np.ndarray, "r r 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    return labeled_rows([""], np.stack(images)[None], headings=("the face", "A", "B"))


def read_answers(path: pathlib.Path) -> dict[int, dict[str, str]]:
    """Pair -> question -> A, B or =.

    Raises:
      ValueError: naming the file, for any other answer and for a pair that is answered twice.
    """
    answers = {}
    with path.open(newline="", encoding=_ENCODING) as file:
        for row in csv.DictReader(file):
            given = {question: (row.get(question) or "").strip().upper() for question in QUESTIONS}
            if not set(given.values()) <= {"A", "B", "="} or not (row.get("pair") or "").isdigit():
                raise ValueError(f"{path}: expected a pair and A, B or =, got {dict(row)}")
            pair = int(row["pair"])
            if pair in answers:
                raise ValueError(f"{path}: pair {pair} is answered twice")
            answers[pair] = given
    return answers


def read_observers(paths: Sequence[pathlib.Path]) -> dict[str, dict[int, dict[str, str]]]:
    """Observer -> as of `read_answers`; called as the file is, or by its whole path where names are equal.

    Raises:
      ValueError: as `read_answers`, and for a file that is given twice.
    """
    whole = [str(path.resolve()) for path in paths]
    if twice := [path for path, times in Counter(whole).items() if times > 1]:
        raise ValueError(f"{twice[0]}: the file is given twice")
    names = [path.stem for path in paths]
    if len({*names, _MAJORITY}) <= len(names):  # two are equal, or one is called as the majority is
        names = whole
    return {name: read_answers(path) for name, path in zip(names, paths, strict=True)}


def count(
    key: Sequence[Mapping[str, str]], observers: Mapping[str, Mapping[int, Mapping[str, str]]]
) -> str:
    """The counts as a Markdown table, for every observer, and for the majority of them pair by pair.

    The share is of the pairs decided for one of the two, with its exact 95% interval (Clopper and Pearson
    1934). Observers look at the same pairs: their answers are not put into one heap. The majority is
    more than half of all answers to a pair, "=" among them.

    Args:
      key: the rows of the key.
      observers: name -> pair -> question -> answer.
    """
    rows = []
    for question, title in QUESTIONS.items():
        voices = {
            name: {
                int(row["pair"]): _whose(answers[int(row["pair"])][question], row)
                for row in key
                if int(row["pair"]) in answers
            }
            for name, answers in observers.items()
        }
        everyone = {**voices, _MAJORITY: _majority(voices.values())} if len(voices) > 1 else voices
        for name, votes in everyone.items():
            counts = Counter(votes.values())
            decided = counts["ours"] + counts["other"]
            share = "–"
            if decided:
                found = binomtest(counts["ours"], decided)
                ends = found.proportion_ci(0.95, method="exact")
                share = f"{found.statistic:.0%} [{ends.low:.0%}, {ends.high:.0%}]"
            numbers = [str(counts[whose]) for whose in ("ours", "other", "=")]
            without = str(counts[_UNDECIDED]) if name == _MAJORITY else "–"
            rows.append([title, name, *numbers, without, share])
    heads = ["which", "observer", "ours", "other", "equal", "no majority", "ours of decided"]
    return markdown_table(heads, rows)


def _whose(answer: str, row: Mapping[str, str]) -> str:
    return "=" if answer == "=" else row[answer]


def _majority(voices: Iterable[Mapping[int, str]]) -> dict[int, str]:
    """Pair -> what more than half of the answers say, or `_UNDECIDED`."""
    tally: dict[int, Counter] = {}
    for votes in voices:
        for pair, whose in votes.items():
            tally.setdefault(pair, Counter())[whose] += 1
    majority = {}
    for pair, found in tally.items():
        ((whose, times),) = found.most_common(1)
        majority[pair] = whose if 2 * times > found.total() else _UNDECIDED
    return majority


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and make pairs or count answers."""
    parser = argparse.ArgumentParser(
        prog="python -m sdflow_jax.study.pairs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making: Any = commands.add_parser("make", help="make the pictures and the key")
    for name in ("ours", "other", "out", "key"):
        making.add_argument(f"--{name}", type=pathlib.Path, required=True)
    making.add_argument("--count", type=int, default=NUM_PAIRS, help="pairs")
    making.add_argument("--num_faces", type=int, default=60, help="faces that are tried")
    making.add_argument("--split", choices=("test", "validation"), default="test")
    making.add_argument("--seed", type=int, default=0)
    making.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="ROLE=FILE",
        help="in place of the config's, the judges above all",
    )
    counting: Any = commands.add_parser("count", help="count answers")
    counting.add_argument("--key", type=pathlib.Path, required=True)
    counting.add_argument("answers", type=pathlib.Path, nargs="+", help="a file for each observer")
    given = parser.parse_args(arguments)
    try:
        if given.command == "make":
            made = make_pairs(
                given.ours,
                given.other,
                given.out,
                given.key,
                num_pairs=given.count,
                num_faces=given.num_faces,
                split=given.split,
                seed=given.seed,
                networks=given.network,
            )
            print(f"{made} pairs: {given.out}; which is which: {given.key}")
            return
        with given.key.open(newline="", encoding=_ENCODING) as file:
            key = list(csv.DictReader(file))
        print(count(key, read_observers(given.answers)))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main()
