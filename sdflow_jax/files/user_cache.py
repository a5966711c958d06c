"""The user's cache: what can be made again at any time, and is kept because that takes long."""

import errno
import os
import pathlib


def user_cache() -> pathlib.Path:
    """`sdflow_jax` in `$XDG_CACHE_HOME` or `~/.cache`, whether it is there or not.

    Raises:
      FileNotFoundError: if the user has no home directory, as in some containers.
    """
    if given := os.environ.get("XDG_CACHE_HOME"):
        return pathlib.Path(given) / "sdflow_jax"
    try:
        return pathlib.Path.home() / ".cache" / "sdflow_jax"
    except RuntimeError as error:
        reason = "this user has no home directory; XDG_CACHE_HOME may name one for caches"
        raise FileNotFoundError(errno.ENOENT, reason, "~/.cache") from error
