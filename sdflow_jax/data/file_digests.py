"""Digests of files' contents, kept on the disk so that no file is read again that nobody has touched."""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Sequence

from sdflow_jax.data.image_source import DataError
from sdflow_jax.files.atomic import write_text
from sdflow_jax.files.bars import Bar
from sdflow_jax.files.lock import InUseError, locked

# A file written again within the clock's resolution has the same times; only older ones are trusted.
_SETTLED_AFTER_NS = 2_000_000_000

Stamp = tuple[int, int, int]


class FileDigests:
    """What files hold, in 32 hexadecimal digits each.

    A digest is taken from an earlier reading if the file's size, its time and its inode's time are
    what they were then. Copying another file over it changes one of them, even where the copy keeps
    the original's time.

    Args:
      directory: where the digests are kept; one that cannot be written costs another reading.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self._folder = pathlib.Path(directory) / "digests"
        self._file = self._folder / "images.json"
        self._known = _read(self._file)

    def of(self, files: Sequence[pathlib.Path], *, num_threads: int = 8) -> list[str]:
        """The digests of files, in their order.

        Raises:
          DataError: naming a file that cannot be read.
        """
        stamps = [stamp_of(file) for file in files]
        unknown = [
            (file, stamp)
            for file, stamp in zip(files, stamps, strict=True)
            if self._kept(file, stamp) is None
        ]
        found: dict[pathlib.Path, str] = {}
        if unknown:
            try:
                with (
                    concurrent.futures.ThreadPoolExecutor(num_threads) as pool,
                    Bar(total=len(unknown), desc="reading images", unit="file", delay=2) as bar,
                ):
                    begun = time.time_ns()
                    digests = pool.map(_digest, (file for file, _ in unknown))
                    for (file, stamp), digest in zip(unknown, digests, strict=True):
                        found[file] = digest
                        if begun - max(stamp[1:]) > _SETTLED_AFTER_NS:
                            self._known[str(file.absolute())] = [*stamp, digest]
                        bar.update()
            finally:  # also what was read before an interrupt
                self._save()
        return [
            found.get(file) or self._kept(file, stamp)
            for file, stamp in zip(files, stamps, strict=True)
        ]

    def _kept(self, file: pathlib.Path, stamp: Stamp) -> str | None:
        *then, digest = self._known.get(str(file.absolute()), [None])
        return digest if tuple(then) == stamp else None

    def _save(self) -> None:
        try:
            with locked(self._folder, "keeping digests"):
                write_text(self._file, json.dumps(self._known))
        except InUseError:
            pass  # whoever writes there has read the same files, most likely
        except OSError as error:
            print(f"note: images will be read again next time: {error}", file=sys.stderr)


def _read(file: pathlib.Path) -> dict[str, list]:
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(file.read_text())
        if isinstance(known, dict) and all(_is_entry(entry) for entry in known.values()):
            return known
    return {}  # there is none, or it is damaged


def _is_entry(entry: object) -> bool:
    return isinstance(entry, list) and [type(x) for x in entry] == [int, int, int, str]


def stamp_of(file: pathlib.Path) -> Stamp:
    """A file's size, time and inode's time: while they stay, so does its content.

    Raises:
      DataError: naming a file that is not there.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest(file: pathlib.Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:32]
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error
