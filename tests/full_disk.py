"""A disk that takes no more, for what the test's own process writes."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def full_disk(size: int = 1000) -> Iterator[None]:
    """While inside, the system lets no file grow beyond `size` bytes ("File too large").

    All that writes is refused, C++ as well; a disk without space differs in the words alone.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
