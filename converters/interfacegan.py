"""InterFaceGAN boundaries: `.npy` files that hold one unit normal of shape (1, d)."""

import os

import numpy as np

from converters.errors import CheckpointError
from sdflow_jax.methods.interfacegan.boundary import Boundary

KIND = "InterFaceGAN boundary"
MAGIC = b"\x93NUMPY"


def read_boundary(path: str | os.PathLike[str]) -> Boundary:
    """The hyperplane in a `.npy` file as upstream's `train_boundary.py` writes it; its offset is
    not stored.

    Raises:
      CheckpointError: if the file is missing or damaged, or does not hold one unit vector.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError, SyntaxError, TypeError) as error:
        raise CheckpointError(f"{path}: not a readable .npy file ({str(error)[:120]})") from error
    if (
        not isinstance(array, np.ndarray)
        or array.ndim != 2
        or array.shape[0] != 1
        or array.dtype.kind != "f"
    ):
        described = (
            f"{array.dtype} of shape {array.shape}"
            if isinstance(array, np.ndarray)
            else "an archive"
        )
        raise CheckpointError(
            f"{path}: expected one boundary, floating-point of shape (1, d), got {described}"
        )
    normal = np.array(array[0], np.float32)
    length = float(np.linalg.norm(normal))
    if not abs(length - 1) < 1e-3:
        raise CheckpointError(
            f"{path}: expected a unit normal, got length {length:.4g}; is this a boundary?"
        )
    return Boundary(normal if abs(length - 1) < 1e-5 else normal / np.float32(length))
