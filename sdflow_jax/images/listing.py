"""The files below a folder, as all commands list them."""

import collections
import os
import pathlib
import re
from collections.abc import Iterable, Iterator

_MOST_KINDS = 5  # of files that are passed over, in the line that counts them


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


def passed_over(names: Iterable[str]) -> tuple[str, ...]:
    """A line that counts files that are left aside by how their names end; none for none."""
    kinds = collections.Counter(
        # Not whatever follows some dot in a name.
        found[0] if (found := re.fullmatch(r"\.[a-z0-9]{1,8}", _suffix(name))) else "other"
        for name in names
    )
    if not kinds:
        return ()
    counts = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))[:_MOST_KINDS]
    rest = kinds.total() - sum(count for _, count in counts)
    told = [f"{count} {kind}" for kind, count in counts] + ([f"{rest} more"] if rest else [])
    one = "1 file of another kind is"
    files = one if kinds.total() == 1 else f"{kinds.total()} files of other kinds are"
    return (f"{files} passed over: {', '.join(told)}",)


def _suffix(name: str) -> str:
    return pathlib.PurePosixPath(name).suffix.lower()
