"""Lines of a text that others have published: any line ends, with or without comments and blank lines."""

import os
import pathlib
from typing import NamedTuple

from sdflow_jax.data.image_source import DataError


class Line(NamedTuple):
    """A line that says something; `number` counts all lines of the file, from 1."""

    number: int
    text: str


def read_lines(path: str | os.PathLike[str]) -> list[Line]:
    """The lines of a file, without blank ones, without comments, and without the space around them. Line ends may
    be Unix's or Windows'; a byte order mark is passed over.

    A comment begins with `#`; below the first line that is none, with `#` and a space, for names may begin with `#`.

    Raises:
      DataError: naming the file, if it cannot be read, is no UTF-8 text, or says nothing.
    """
    try:
        text = pathlib.Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected a text in UTF-8 ({error})") from error
    # Not `splitlines`, to which some characters inside a line are line ends too.
    stripped = (line.strip() for line in text.split("\n"))
    lines: list[Line] = []
    for number, text in enumerate(stripped, 1):
        is_comment = text.startswith("#") and (not lines or text.lstrip("#")[:1].isspace())
        if text.strip("#") and not is_comment:
            lines.append(Line(number, text))
    if not lines:
        raise DataError(f"{path}: expected lines of images and their labels, the file says nothing")
    return lines
