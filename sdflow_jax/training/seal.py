"""Digits that change with every bit of a checkpoint that matters, so that damage is found out."""

import hashlib
import json
from typing import Any

import grain
import jax
import numpy as np

from sdflow_jax.training.state import State


def seal_of(told: Any) -> str:
    """Hexadecimal digits of anything JSON-able."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def content_of(state: State, batches: grain.DatasetIterator) -> str:
    """Hexadecimal digits of arrays, all of which this process must hold, and of a place in the data."""
    digest = hashlib.sha256(json.dumps(batches.get_state(), sort_keys=True).encode())
    for path, x in _leaves(state):
        digest.update(f"{path} {_shape(x)}\n".encode())
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x = jax.random.key_data(x)
        digest.update(np.ascontiguousarray(jax.device_get(x)).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def shapes_of(state: State) -> dict[str, str]:
    """Path of each array -> its type and shape, as in `float32[8, 3]`: what tells networks apart."""
    return {path: _shape(x) for path, x in _leaves(state)}


def _shape(x: Any) -> str:
    return f"{x.dtype}{list(x.shape)}"


def _leaves(state: State) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), x) for path, x in leaves]
