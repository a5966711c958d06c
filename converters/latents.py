"""Makes a file of latents of what others distribute: `python -m converters.latents LATENTS --out FILE`.

Of the original SDFlow: its latents and predictions (`.pth`), and its index file, which names FFHQ's
pictures and says which are for testing. Of StyleFlow: its latents and attributes (`.npy`). The file
is for a config's `data.latents`, with `data.source` "latents". No PyTorch is needed, and nothing that
a file contains is run.
"""

import argparse
import csv
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from converters.errors import CheckpointError
from converters.npy_reader import MAGIC, read_npy
from converters.torch_reader import read_checkpoint
from sdflow_jax.data.image_source import SPLITS
from sdflow_jax.data.latents_file import save_latents
from sdflow_jax.files.attribute_names import CELEBA_ATTRIBUTES
from sdflow_jax.images.batching import batches_of

LEFT_OUT = "-"  # in a list of columns

_COMPARED_AT_ONCE = 1024
_TRUE, _FALSE = ("true", "1", "1.0"), ("false", "0", "0.0")


class Index(NamedTuple):
    """An index file.

    Attributes:
      pictures: file names.
      places: the number in each name, which is the face's place among the latents.
      is_test: whether the picture is for testing.
    """

    pictures: tuple[str, ...]
    places: np.ndarray
    is_test: np.ndarray


def import_latents(
    latents: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    predictions: str | os.PathLike[str] | None = None,
    index: str | os.PathLike[str] | None = None,
    columns: Sequence[str] | None = None,
    report=print,
) -> None:
    """Make a file of latents.

    Args:
      latents: [f, n, d] or [f, 1, n, d] in a `.pth` or `.npy` file, or as a list of f tensors in the
        former. One row is kept where all the rows of every face are equal.
      out: the file to write.
      predictions: [f, a] in such a file, in [0, 1]; axes of length 1 behind it do not matter.
      index: CSV with the columns `path` and `split`, whose true values mean testing. Its faces are
        taken, in its order. Without it all are, and the splits stay open.
      columns: what the columns of the predictions are called, `LEFT_OUT` for those not to be kept;
        None for CelebA's 40 attributes, after which a 41st, the age, is left out.
      report: called with lines of text.

    Raises:
      CheckpointError: if a file is missing, damaged, of another form, or does not fit the others.
    """
    w_plus = _read_latents(latents)
    report(f"{latents}: latents of {len(w_plus)} faces, {w_plus.shape[1]} x {w_plus.shape[2]}")
    scores, names = None, ()
    if predictions is not None:
        scores, names = _read_predictions(predictions, len(w_plus), columns)
        hard = "hard decisions" if np.isin(scores, (0.0, 1.0)).all() else "probabilities"
        told = ", ".join(names) if len(names) <= 8 else f"{len(names)} attributes"
        report(f"{predictions}: {hard} of {told}")
    elif columns is not None:
        raise CheckpointError("--columns names the columns of --predictions; give these as well")
    pictures, splits = (), None
    if index is not None:
        found = read_index(index)
        if found.places.max() >= len(w_plus):
            place = int(found.places.argmax())
            raise CheckpointError(
                f"{index}: {found.pictures[place]} asks for latent {found.places[place]},"
                f" {latents} has {len(w_plus)}"
            )
        pictures = found.pictures
        splits = np.where(found.is_test, SPLITS.index("test"), SPLITS.index("train"))
        splits = splits.astype(np.uint8)
        report(f"{index}: {(~found.is_test).sum()} faces to train, {found.is_test.sum()} to test")
        if not np.array_equal(found.places, np.arange(len(w_plus))):
            w_plus = w_plus[found.places]
            scores = None if scores is None else scores[found.places]
    if _has_equal_rows(w_plus):
        report("all rows of a face are equal; one is kept")
        w_plus = w_plus[:, :1]
    save_latents(
        out,
        np.asarray(w_plus, np.float32),
        predictions=scores,
        attributes=names,
        splits=splits,
        pictures=pictures,
    )


def read_index(path: str | os.PathLike[str]) -> Index:
    """Read an index file, as the original SDFlow's `ffhq.txt`.

    Raises:
      CheckpointError: if it is missing, has other columns, or a line of it is none of an index.
    """
    pictures, places, is_test = [], [], []
    try:
        with pathlib.Path(path).open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream, skipinitialspace=True)
            if missing := {"path", "split"} - set(table.fieldnames or ()):
                raise CheckpointError(
                    f"{path}: there is no column {' and no '.join(sorted(missing))}"
                )
            for row in table:
                name, split = row["path"] or "", (row["split"] or "").strip().lower()
                number = name.partition(".")[0]
                if not (number.isascii() and number.isdecimal()) or split not in _TRUE + _FALSE:
                    raise CheckpointError(
                        f"{path}, line {table.line_num}: expected a picture NUMBER.png and a split"
                        f" True or False, got {name!r} and {row['split']!r}"
                    )
                pictures.append(name)
                places.append(int(number))
                is_test.append(split in _TRUE)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path}: cannot be read ({reason})") from error
    if len(set(places)) != len(places):
        raise CheckpointError(f"{path}: a picture is listed twice")
    if all(is_test):
        raise CheckpointError(f"{path}: no picture is for training")
    return Index(tuple(pictures), np.array(places, np.int64), np.array(is_test))


def _read_latents(path: str | os.PathLike[str]) -> np.ndarray:
    """[f, n, d]; of a `.npy` and of one tensor a view of the file."""
    array = _read_array(path)
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 3 or array.dtype.kind not in "fV" or 0 in array.shape:
        raise CheckpointError(
            f"{path}: expected latents, floats of shape (faces, 18, 512) or (faces, 1, 18, 512),"
            f" got {array.dtype} of shape {array.shape}"
        )
    for start in range(0, len(array), _COMPARED_AT_ONCE):
        part = np.asarray(array[start : start + _COMPARED_AT_ONCE], np.float32)
        is_finite = np.isfinite(part).all(axis=(1, 2))
        if not is_finite.all():
            raise CheckpointError(
                f"{path}: the latents of face {start + int(np.argmin(is_finite))} are NaN or infinite"
            )
    return array


def _read_predictions(
    path: str | os.PathLike[str], num_faces: int, columns: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The columns that are kept, [f, a] in [0, 1], and their names."""
    array = _read_array(path)
    while array.ndim > 2 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 2 or len(array) != num_faces:
        raise CheckpointError(
            f"{path}: expected predictions of {num_faces} faces, (faces, attributes), got shape"
            f" {array.shape}"
        )
    count = array.shape[1]
    if columns is None:
        columns = {40: CELEBA_ATTRIBUTES, 41: (*CELEBA_ATTRIBUTES, LEFT_OUT)}.get(count)
    if columns is None or len(columns) != count:
        given = "are not CelebA's" if columns is None else f"have {len(columns)} names"
        raise CheckpointError(
            f"{path}: the {count} columns {given}; say what each is with --columns, {LEFT_OUT} for"
            " one that is not to be kept"
        )
    kept = [place for place, name in enumerate(columns) if name != LEFT_OUT]
    names = tuple(columns[place] for place in kept)
    if not names or len(set(names)) != len(names):
        raise CheckpointError(f"--columns: names must be distinct, at least one, got {names}")
    scores = np.asarray(array[:, kept], np.float32)
    for column, name in enumerate(names):
        low, high = scores[:, column].min(), scores[:, column].max()
        if not (low >= 0 and high <= 1):
            raise CheckpointError(
                f"{path}: {name} must be in [0, 1], and is from {low:g} to {high:g}; leave it out"
                f" with {LEFT_OUT} in --columns"
            )
    return scores, names


def _read_array(path: str | os.PathLike[str]) -> np.ndarray:
    path = pathlib.Path(path)
    try:
        with path.open("rb") as file:
            is_numpy = file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    if is_numpy:
        return read_npy(path)
    tree: Any = read_checkpoint(path)
    if isinstance(tree, list | tuple) and tree and all(isinstance(x, np.ndarray) for x in tree):
        if len({x.shape for x in tree}) > 1:
            raise CheckpointError(f"{path}: the tensors of the list have different shapes")
        return np.stack(tree)
    if not isinstance(tree, np.ndarray):
        raise CheckpointError(f"{path}: expected one tensor or a list, got {type(tree).__name__}")
    return tree


def _has_equal_rows(w_plus: np.ndarray) -> bool:
    if w_plus.shape[1] == 1:
        return False
    return all(
        np.array_equal(part, np.broadcast_to(part[:, :1], part.shape))
        for part in batches_of(w_plus, _COMPARED_AT_ONCE)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.out.exists() and not arguments.overwrite:
            raise CheckpointError(
                f"{arguments.out} exists; choose another --out, or --overwrite it"
            )
        import_latents(
            arguments.latents,
            arguments.out,
            predictions=arguments.predictions,
            index=arguments.index,
            columns=arguments.columns,
        )
    except (CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    print(f"wrote {arguments.out}")
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m converters.latents",
        description=__doc__.partition("\n\n")[0],
        epilog="example: python -m converters.latents latents.npy --predictions predictions.npy --out latents",
    )
    parser.add_argument("latents", type=pathlib.Path, help="a .pth or .npy file")
    parser.add_argument(
        "--predictions", type=pathlib.Path, help="what was predicted of the faces, .pth or .npy"
    )
    parser.add_argument(
        "--index", type=pathlib.Path, help="the faces' pictures and splits, as ffhq.txt"
    )
    parser.add_argument(
        "--columns",
        type=_names,
        metavar="NAME,NAME,...",
        help=f"the columns of the predictions, {LEFT_OUT} to leave one out; by default CelebA's",
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace it if it is there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
