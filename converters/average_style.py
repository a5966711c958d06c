"""The mean of w, for generators whose files do not hold it."""

from collections.abc import Mapping

import numpy as np

NUM_AVERAGED = 10_000


def mean_style(flat: Mapping[str, np.ndarray], num_layers: int, lr_multiplier: float) -> np.ndarray:
    """The mean of w over 10,000 fixed draws of z.

    Args:
      flat: `mapping/I/kernel` and `mapping/I/bias` as `EqualizedLinear` stores them.
      num_layers: layers of the mapping network.
      lr_multiplier: its learning rate relative to the synthesis network, which scales both.
    """
    dim = flat["mapping/0/kernel"].shape[0]
    x = np.random.default_rng(0).standard_normal((NUM_AVERAGED, dim)).astype(np.float32)
    x /= np.sqrt(np.mean(np.square(x), axis=1, keepdims=True) + 1e-8)
    for i in range(num_layers):
        kernel, bias = flat[f"mapping/{i}/kernel"], flat[f"mapping/{i}/bias"]
        x = x @ (kernel * (lr_multiplier / np.sqrt(dim))).astype(np.float32) + bias * lr_multiplier
        x = np.maximum(x, 0.2 * x) * np.sqrt(2).astype(np.float32)
    return x.mean(axis=0)
