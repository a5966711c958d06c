"""The files below a folder, as all commands list them."""

import os
import pathlib
from collections.abc import Iterator


class LinkLoopError(ValueError):
    """A link leads back to a folder that it lies in; the message names both."""


def files_below(directory: str | os.PathLike[str]) -> list[pathlib.Path]:
    """All files below a folder that are not hidden, in the order of their paths.

    Links to folders are followed. Hidden files and folders, whose names begin with a dot, are left
    out: they are copies that notebooks, archives and file managers have made. A link that leads
    nowhere is a file like others, for whoever opens it to tell of.

    Raises:
      LinkLoopError: for a link that leads back to a folder that it lies in.
      OSError: naming a folder that cannot be listed.
    """
    directory = pathlib.Path(directory)
    return sorted(_below(directory, (directory.resolve(),)))


def _below(directory: pathlib.Path, way: tuple[pathlib.Path, ...]) -> Iterator[pathlib.Path]:
    """The files below a directory to which `way`, real folders, has led."""
    for entry in directory.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            folder = entry.resolve()
            if folder in way:
                raise LinkLoopError(f"{entry}: this link leads back to {folder}, in which it lies")
            yield from _below(entry, (*way, folder))
        else:
            yield entry
