"""Edits photographs: `python -m sdflow_jax.edit PHOTO... --set Eyeglasses=1 Young=0.2 --out DIR`."""

import argparse
import contextlib
import math
import pathlib
import sys
import warnings
from collections.abc import Iterator, Sequence

from sdflow_jax.files.collection import collect_seldom
from sdflow_jax.files.words import in_words, print_any_name

_LARGEST = 3.4e38  # nearly, in float32


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 if a photo could not be edited."""
    arguments = _parser().parse_args(argv)
    print_any_name()
    collect_seldom()
    with _warnings_as_notes():
        try:
            # Here: `--help` and a mistyped option are answered before jax is imported.
            from sdflow_jax.edit.work import edit_all

            return edit_all(arguments)
        except (OSError, ValueError) as error:
            print(f"error: {in_words(error)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("interrupted; the photos written so far are whole", file=sys.stderr)
            return 130


@contextlib.contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Warnings as lines for people, without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
        yield


def _target(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not abs(number) <= _LARGEST:
        raise argparse.ArgumentTypeError(f"expected ATTRIBUTE=NUMBER, got {text!r}")
    return name, number


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def _number(text: str) -> int:
    number = _count(text)
    if number < 1:
        raise argparse.ArgumentTypeError("faces are counted from 1, from left to right")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sdflow_jax.edit",
        description="Edits photographs of faces.",
        epilog="example: python -m sdflow_jax.edit photo.png --set Young=0 --out edited",
    )
    parser.add_argument(
        "photos",
        nargs="+",
        type=pathlib.Path,
        metavar="PHOTO",
        help="a file, or a folder of photos",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        type=_target,
        metavar="ATTRIBUTE=VALUE",
        help="what to change: 0 and 1 are the ends of the usual range, values beyond ask for more",
    )
    parser.add_argument(
        "--strip",
        metavar="ATTRIBUTE",
        help="also show the photo, the face found for it, and that with this attribute at 0, 0.25, ... 1",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("edited"),
        metavar="FOLDER",
        help="the folder to write to (default: edited)",
    )
    parser.add_argument(
        "--workdir", type=pathlib.Path, help="a training run to edit with, not the pocket world"
    )
    parser.add_argument("--size", type=_count, help="side of the pictures in pixels")
    parser.add_argument(
        "--num-steps",
        type=_count,
        default=0,
        metavar="N",
        help="refine the inversion by N steps of optimization (default: 0, which is quick and gives"
        " somebody else; 100 keep more of the person)",
    )
    parser.add_argument(
        "--crop", action="store_true", help="cut a square from the middle of photos that are none"
    )
    parser.add_argument(
        "--align",
        action="store_true",
        help="find the faces of any photo and align them (needs the extra `align`)",
    )
    parser.add_argument(
        "--paste",
        action="store_true",
        help="with --align: write the photo with its edited faces, not the faces",
    )
    parser.add_argument(
        "--face",
        type=_number,
        metavar="N",
        help="with --align: edit only the Nth face from the left",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
