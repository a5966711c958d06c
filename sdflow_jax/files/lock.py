"""One process at a time in a directory, by a lock of the system's that ends with its process."""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
import warnings
from collections.abc import Iterator

LOCK_FILE = ".lock"
# What file systems say that have none, as some over a network.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


class InUseError(OSError):
    """Another process is at work in a directory; the message is one line that names both."""


@contextlib.contextmanager
def locked(directory: str | os.PathLike[str], work: str, *, shared: bool = False) -> Iterator[None]:
    """Keep other processes out of a directory while inside, those that ask here as well.

    Nobody waits: the second is told at once. A process that is killed holds nothing. The file
    `.lock`, which tells who was the last to hold the lock, stays behind and means nothing by itself.

    Args:
      directory: made if need be.
      work: what is being done, for the message to others, e.g. "training".
      shared: let in others that are shared, too: for those who only need that nobody changes it.

    Raises:
      InUseError: if another process keeps this one out.
      OSError: if the directory cannot be made or written.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    # Opened for appending: who comes in vain must not wipe out who is there.
    with (directory / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            raise InUseError(f"{directory} is in use: {holder}; let it end first") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            warnings.warn(
                f"{directory} is on a file system without locks ({error.strerror}): see to it that no other process"
                " works in it",
                stacklevel=3,
            )
        file.truncate(0)
        file.write(f"{work}, process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
