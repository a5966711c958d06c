"""From the published DCGAN checkpoint to the arrays of `FaceTeacher`."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

BATCH_NORM_EPSILON = 1e-5  # torch's default, with which the checkpoint was trained


def teacher_arrays(state_dict: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Fold the batch norms of a DCGAN state dict into its transposed convolutions.

    Args:
      state_dict: `main.{0,3,6,9,12}.weight`, torch layout (in, out, 4, 4), and batch norms `main.{1,4,7,10}`.

    Returns:
      Arrays keyed as `networks.flatten(FaceTeacher())`.

    Raises:
      KeyError: if an entry is missing.
    """
    arrays = {}
    for block, layer in enumerate((0, 3, 6, 9, 12)):
        kernel = np.asarray(state_dict[f"main.{layer}.weight"], np.float32)
        norm = f"main.{layer + 1}"
        if f"{norm}.running_var" in state_dict:
            variance = np.asarray(state_dict[f"{norm}.running_var"], np.float32)
            scale = np.asarray(state_dict[f"{norm}.weight"]) / np.sqrt(
                variance + BATCH_NORM_EPSILON
            )
            bias = (
                np.asarray(state_dict[f"{norm}.bias"])
                - np.asarray(state_dict[f"{norm}.running_mean"]) * scale
            )
        else:
            scale, bias = (
                np.ones(kernel.shape[1], np.float32),
                np.zeros(kernel.shape[1], np.float32),
            )
        kernel = kernel * scale[None, :, None, None]
        if block == 0:  # 1x1 -> 4x4: a dense layer whose outputs run over (row, column, channel)
            arrays["root/kernel"] = kernel.transpose(0, 2, 3, 1).reshape(kernel.shape[0], -1)
            arrays["root/bias"] = np.tile(bias, 16)
        else:
            arrays[f"doublings/{block - 1}/kernel"] = kernel.transpose(2, 3, 0, 1)
            arrays[f"doublings/{block - 1}/bias"] = bias
    return arrays
