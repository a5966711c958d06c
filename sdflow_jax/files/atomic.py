"""Writing files so that a kill leaves the old one or the whole new one."""

import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import IO, Any


def write_atomic(path: str | os.PathLike[str], write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file under another name and then give it its own, so that it is never half there.

    Args:
      path: the file; its directory is made if need be.
      write: is given the open binary stream.

    Raises:
      OSError: if the disk is full or may not be written.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        write(stream)
    partial.replace(path)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text atomically, as UTF-8 with the line ends that it has."""
    write_atomic(path, lambda stream: stream.write(text.encode()))


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write JSON atomically.

    Raises:
      ValueError: for NaN and infinity, which are no JSON.
    """
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")
