"""InterFaceGAN boundaries: `.npy` files that hold one unit normal of shape (1, d)."""

import os

import numpy as np

from converters.errors import CheckpointError
from converters.npy_reader import read_npy
from sdflow_jax.methods.interfacegan.boundary import Boundary

KIND = "InterFaceGAN boundary"


def read_boundary(path: str | os.PathLike[str]) -> Boundary:
    """The hyperplane in a `.npy` file as upstream's `train_boundary.py` writes it; its offset is
    not stored.

    Raises:
      CheckpointError: if the file is missing or damaged, or does not hold one unit vector.
    """
    array = read_npy(path)
    if array.ndim != 2 or array.shape[0] != 1 or array.dtype.kind != "f":
        raise CheckpointError(
            f"{path}: expected one boundary, floating-point of shape (1, d), got {array.dtype} of"
            f" shape {array.shape}"
        )
    normal = np.array(array[0], np.float32)
    length = float(np.linalg.norm(normal))
    if not abs(length - 1) < 1e-3:
        raise CheckpointError(
            f"{path}: expected a unit normal, got length {length:.4g}; is this a boundary?"
        )
    return Boundary(normal if abs(length - 1) < 1e-5 else normal / np.float32(length))
