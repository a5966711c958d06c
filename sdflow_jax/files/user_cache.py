"""The user's cache: what can be made again at any time, and is kept because that takes long."""

import os
import pathlib


def user_cache() -> pathlib.Path:
    """`sdflow_jax` in `$XDG_CACHE_HOME` or `~/.cache`, whether it is there or not."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "sdflow_jax"
