"""Writing files so that a kill leaves the old one or the whole new one."""

import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None


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
            try:
                write(stream)
                stream.flush()
                if fcntl:
                    partial.replace(path)
            except BaseException:
                if fcntl:  # while it is locked, for the next one that comes takes up what is there
                    _remove(partial)
                raise
        if not fcntl:  # such systems rename and remove no open file
            partial.replace(path)
    except BaseException:
        if not fcntl:
            _remove(partial)
        raise


def _remove(partial: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        partial.unlink()


def _begin(path: pathlib.Path) -> tuple[pathlib.Path, IO[bytes]]:
    """An empty file beside `path` that no other process is writing, and its name.

    The name is the same for all, so that what a kill has left is taken up again, but for one that comes while
    another writes.
    """
    partial = path.with_name(path.name + ".partial")
    own = path.with_name(f"{path.name}.{os.getpid()}.partial")
    if not fcntl:
        return own, own.open("wb")
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o666)
    if not _is_ours(descriptor, partial):
        os.close(descriptor)
        return own, own.open("wb")
    os.ftruncate(descriptor, 0)
    return partial, os.fdopen(descriptor, "wb")


def _is_ours(descriptor: int, partial: pathlib.Path) -> bool:
    """Whether nobody else is writing an open file, who is kept out from now on."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, on which nobody else is hoped to be
        return True
    try:  # whoever was writing may have finished since it was opened: then this is the finished file
        return os.path.samestat(os.fstat(descriptor), partial.stat())
    except FileNotFoundError:
        return False


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text atomically, as UTF-8 with the line ends that it has."""
    write_atomic(path, lambda stream: stream.write(text.encode()))


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write JSON atomically.

    Raises:
      ValueError: for NaN and infinity, which are no JSON.
    """
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")
