"""Compiled programs on disk: what one command has compiled, the next one loads.

Every command keeps them, by one call of `keep_compiled_programs`; a program that uses this package as a
library decides by itself. The programs are XLA's, found by everything that went into them, so that one
compiled by another version, for another device or of other shapes is never taken. They may be deleted
at any time.
"""

import hashlib
import os
import pathlib
import platform
import re
from collections.abc import Iterable

import jax

from sdflow_jax.files.user_cache import user_cache

VARIABLE = "SDFLOW_COMPILATION_CACHE"
MAX_BYTES = 1 << 30
OFF = "off"

_LEAST_SECONDS = 0.1  # of compilation; what is compiled in less is not worth a file
_CPU_INFO = pathlib.Path("/proc/cpuinfo")

# What may be deleted: nothing but jax's own files, in folders named as by `_processor`. The directory may be
# anybody's.
_FOLDER = re.compile(r"[0-9a-f]{8}")
_PROGRAM = re.compile(r"jit_.*-[0-9a-f]{64}-(cache|atime)")


def keep_compiled_programs(
    directory: str = "", *, max_bytes: int = MAX_BYTES
) -> pathlib.Path | None:
    """Let jax load programs that were compiled before, and keep those that it compiles from now on.

    The first of these that says something decides: `directory`, the environment variable
    `SDFLOW_COMPILATION_CACHE`, jax's own setting (`JAX_COMPILATION_CACHE_DIR`), which is left as it
    is, and `sdflow_jax/compiled` in the user's cache. A directory that cannot be made or written is
    done without.

    Args:
      directory: where the programs are; "off" keeps none, and "" leaves it to the others.
      max_bytes: to which size the directory is brought before it is used, the oldest first. What
        one run adds, some megabytes, comes on top.

    Returns:
      The directory in use; None for none.
    """
    given = directory or os.environ.get(VARIABLE, "")
    if given == OFF:
        jax.config.update("jax_compilation_cache_dir", None)
        return None
    if not given and jax.config.jax_compilation_cache_dir:
        return pathlib.Path(jax.config.jax_compilation_cache_dir)
    try:
        base = pathlib.Path(given).expanduser().absolute() if given else user_cache() / "compiled"
        # By kind of processor: homes are shared by machines, whose programs are not.
        place = base / _processor()
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK):
            return None
        folders = [x for x in base.iterdir() if _FOLDER.fullmatch(x.name)]
        shrink(folders, _PROGRAM, max_bytes)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    return place


def _processor() -> str:
    """Digits for what machine code may be made of here; 8 hexadecimal ones."""
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:  # a system that has no such file
        lines = []
    named = (line for line in lines if line.startswith(("flags", "Features")))
    features = next(named, platform.processor())
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:8]


def traced_programs() -> pathlib.Path:
    """The folder, there or not, of programs that were traced before: beside those that are compiled, and apart
    from them where jax's own setting says where those are.

    Raises:
      FileNotFoundError: if the user has no home directory.
    """
    given = os.environ.get(VARIABLE, "")
    base = pathlib.Path(given).expanduser().absolute() if given else user_cache()
    return base / "traced"


def shrink(folders: Iterable[pathlib.Path], names: re.Pattern[str], max_bytes: int) -> None:
    """Delete the oldest files of these names until all of them together have at most so many bytes.

    Args:
      folders: where they are, directly.
      names: whole names of the files that may be deleted.
      max_bytes: what may stay.
    """
    files = []
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            if not names.fullmatch(path.name) or not path.is_file():
                continue
            try:
                status = path.stat()
            except FileNotFoundError:  # another process was faster
                continue
            files.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= max_bytes:
            return
        path.unlink(missing_ok=True)
        total -= size
