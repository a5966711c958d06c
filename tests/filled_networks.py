"""Small networks with weights from numpy.

For a fresh network jax would compile a random draw for every shape of its weights.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import nnx

from sdflow_jax.files import networks


def filled_arrays(
    name: str, arguments: Mapping[str, Any], *, seed: int = 0
) -> dict[str, np.ndarray]:
    """Random arrays for the network `name`, of magnitudes as after training."""
    random = np.random.default_rng(seed)
    arrays = {}
    for path, shape in networks.expected_shapes(name, arguments).items():
        kind = path.rsplit("/", 1)[-1]
        if kind == "kernel":
            values = random.normal(size=shape) * np.sqrt(2.0 / max(np.prod(shape[:-1]), 1))
        elif kind in ("scale", "var"):
            values = random.uniform(0.7, 1.4, shape)
        else:
            values = 0.1 * random.normal(size=shape)
        arrays[path] = values.astype(np.float32)
    return arrays


def filled_network(name: str, arguments: Mapping[str, Any], *, seed: int = 0) -> nnx.Module:
    """The network `name` holding `filled_arrays`, in evaluation mode."""
    module = nnx.eval_shape(lambda: networks.build(name, arguments))
    networks.load_arrays(module, filled_arrays(name, arguments, seed=seed), source="test")
    module.eval()
    return module
