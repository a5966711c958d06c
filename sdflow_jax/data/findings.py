"""What is wrong with a file of many lines: every kind of mistake once, with its count and a few names."""

import os

from sdflow_jax.data.image_source import DataError

_NUM_NAMED = 3


class Findings:
    """Mistakes of one file, collected while it is read.

    Args:
      path: the file, which the error names.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._path = path
        self._names: dict[str, list[str]] = {}

    def add(self, kind: str, name: str) -> None:
        """Remember a mistake.

        Args:
          kind: what is wrong, as a sentence about several: "images are listed twice".
          name: where it is: an image or a line.
        """
        self._names.setdefault(kind, []).append(name)

    def finish(self) -> None:
        """End the reading.

        Raises:
          DataError: naming the file, with a line for every kind of mistake, its count and the first
            few names.
        """
        if self._names:
            lines = [f"{len(names)} {kind}: {_few(names)}" for kind, names in self._names.items()]
            raise DataError("\n  ".join([f"{self._path} cannot be used", *lines]))


def _few(names: list[str]) -> str:
    more = len(names) - _NUM_NAMED
    return ", ".join(names[:_NUM_NAMED]) + (f" and {more} more" if more > 0 else "")
