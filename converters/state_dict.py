"""Finding state dictionaries in a checkpoint, and taking the fronts of their keys off."""

from collections.abc import Mapping
from typing import Any

import numpy as np

StateDict = dict[str, np.ndarray]


def is_state_dict(value: Any) -> bool:
    """Whether `value` is a dictionary from names to arrays, at least one of them."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(
            isinstance(key, str) and isinstance(item, np.ndarray) for key, item in value.items()
        )
    )


def find_state_dict(tree: Any, *names: str) -> StateDict:
    """The state dictionary under the first of `names` that `tree` has, or `tree` itself if it is
    one; else empty.
    """
    if isinstance(tree, dict):
        for name in names:
            if is_state_dict(tree.get(name)):
                return tree[name]
    return tree if is_state_dict(tree) else {}


def strip_prefix(state_dict: Mapping[str, np.ndarray], prefix: str = "module.") -> StateDict:
    """The same entries with a leading `prefix` (by default the one that DataParallel adds) taken
    off their keys.

    Only the front of a key is touched, where upstream's loader removes `module.` wherever it
    occurs.
    """
    return {key.removeprefix(prefix): value for key, value in state_dict.items()}


def select_prefix(state_dict: Mapping[str, np.ndarray], prefix: str) -> StateDict:
    """Only the entries whose key starts with `prefix`, without it."""
    return {
        key.removeprefix(prefix): value
        for key, value in state_dict.items()
        if key.startswith(prefix)
    }
