"""NumPy's own files, `.npy`, of which nothing is run."""

import os

import numpy as np

from converters.errors import CheckpointError

MAGIC = b"\x93NUMPY"


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of a `.npy` file, left on disk until it is looked at.

    Raises:
      CheckpointError: if the file is missing or damaged, or holds Python objects or several arrays.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    # NumPy reads the header as Python would, and damaged ones end in whatever that leads to.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error)[:120]
        raise CheckpointError(f"{path}: not a readable .npy file ({reason})") from error
    if not isinstance(array, np.ndarray):
        raise CheckpointError(f"{path}: expected one array, the file is an archive of several")
    return array
