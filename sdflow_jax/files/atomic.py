"""Writing files so that a kill leaves the old one or the whole new one."""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

_STALE = 600.0  # seconds without a byte, after which nobody writes a file any more


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give this path to an `OSError` inside that names none: a stream does not know its file, and
    "No space left on device" alone tells nobody which.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_atomic(path: str | os.PathLike[str], write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file under another name and then give it its own, so that it is never half there.

    What was written is removed again if writing fails.

    Args:
      path: the file; its directory is made if need be.
      write: is given the open binary stream.

    Raises:
      OSError: naming the file and the cause, if the disk is full or may not be written.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        partial, stream = _begin(path)
    try:
        with naming(path), stream:
            write(stream)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def _begin(path: pathlib.Path) -> tuple[pathlib.Path, IO[bytes]]:
    """An empty file beside `path` that no other process is writing, and its name."""
    partial = path.with_name(path.name + ".partial")
    with contextlib.suppress(OSError):
        if time.time() - partial.stat().st_mtime > _STALE:  # of a process that was killed
            partial.unlink()
    with contextlib.suppress(FileExistsError):
        return partial, partial.open("xb")
    own = path.with_name(f"{path.name}.{os.getpid()}.partial")
    return own, own.open("wb")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text atomically, as UTF-8 with the line ends that it has."""
    write_atomic(path, lambda stream: stream.write(text.encode()))


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write JSON atomically.

    Raises:
      ValueError: for NaN and infinity, which are no JSON.
    """
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")
