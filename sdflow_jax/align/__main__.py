"""Aligns the faces of photos: `python -m sdflow_jax.align PHOTOS --out FOLDER`.

PHOTOS is a folder, a zip or a tar. FOLDER can then be a config's `data.folder`. Stopped at any
moment, the same command continues.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from sdflow_jax.align.cutting import FFHQ_SIZE
from sdflow_jax.align.faces import SMALLEST_SIDE
from sdflow_jax.align.finders import FINDERS
from sdflow_jax.align.photos import PhotoSource
from sdflow_jax.align.preparation import AlignSettings, Summary, align_photos
from sdflow_jax.align.progress import Progress
from sdflow_jax.files.cores import own_cores
from sdflow_jax.files.words import in_words, print_any_name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: photos without a face are no failure."""
    arguments = _parser().parse_args(argv)
    print_any_name()
    settings = AlignSettings(arguments.size, arguments.smallest, arguments.finder)
    progress: Progress | None = None

    def begin(source: PhotoSource, num_done: int) -> None:
        nonlocal progress
        for note in source.notes:
            print(f"note: {note}", file=sys.stderr)
        total = len(source.photos)
        before = f", {num_done} of them done before" if num_done else ""
        print(f"{arguments.photos}: {total} photos{before}", flush=True)
        progress = Progress(total, num_done, "photos")

    try:
        summary = align_photos(
            arguments.photos,
            arguments.out,
            settings,
            jobs=arguments.jobs,
            begin=begin,
            advance=lambda num_faces: progress.advance(f"{num_faces} faces"),
        )
    except (OSError, ValueError) as error:
        _end(progress)
        goes_on = "; the same command continues" if getattr(error, "strerror", None) else ""
        print(f"error: {in_words(error)}{goes_on}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _end(progress)
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    _end(progress)
    print(_told(summary, arguments.out))
    return 0


def _told(summary: Summary, folder: pathlib.Path) -> str:
    counts = {
        "photos without a face": summary.num_without,
        "photos that cannot be read": summary.num_unreadable,
        "faces too small": summary.num_small,
        "faces left of photos that are gone": summary.num_left,
    }
    rest = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    done = f"{folder}: {summary.num_faces} faces of {summary.num_photos} photos"
    return f"{done}; {rest}, see {summary.report}" if rest else done


def _end(progress: Progress | None) -> None:
    if progress is not None:
        progress.end()


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sdflow_jax.align",
        description="Finds the faces of photos and cuts them out as FFHQ's are.",
        epilog="example: python -m sdflow_jax.align photos/ --out faces --size 256",
    )
    parser.add_argument(
        "photos", type=pathlib.Path, metavar="PHOTOS", help="a folder, a zip or a tar of photos"
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the folder to write to")
    parser.add_argument(
        "--size",
        type=_at_least_one,
        default=FFHQ_SIZE,
        help="side of the faces in pixels (%(default)s)",
    )
    parser.add_argument(
        "--smallest",
        type=_at_least_one,
        default=SMALLEST_SIDE,
        metavar="PIXELS",
        help="leave out faces whose square has a shorter side in the photo (%(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=_at_least_one,
        default=len(own_cores()),
        help="photos in work at a time (as many as there are processors to use)",
    )
    parser.add_argument(
        "--finder",
        default="dlib",
        help=f"what finds the faces: {', '.join(FINDERS)}, or MODULE:CLASS (%(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
