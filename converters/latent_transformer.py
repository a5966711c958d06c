"""Latent-Transformer checkpoints: the latent map `F_mapping` and the latent classifier `LCNet`."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.check import check_keys
from converters.errors import CheckpointError
from converters.state_dict import StateDict, find_state_dict, strip_prefix

KIND = "Latent-Transformer (latent map or latent classifier)"
STYLE_DIM = 512  # a classifier's weights show the length of the whole code only

_MAP_KEY = re.compile(r"dense\.(\d{1,3})\.(weight|bias)")
_CLASSIFIER_KEY = re.compile(r"fcs\.(\d{1,3})\.(weight|bias)")


def matches(tree: Any) -> bool:
    """Whether every key is one of a latent map, or every key one of a latent classifier."""
    state_dict = _state_dict(tree)
    return bool(state_dict) and (
        _all_match(_MAP_KEY, state_dict) or _all_match(_CLASSIFIER_KEY, state_dict)
    )


def convert(tree: Any) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """The registry name, constructor arguments and arrays of the network in `tree`.

    Raises:
      CheckpointError: if keys are missing or unexpected, or shapes are inconsistent.
    """
    state_dict = _state_dict(tree)
    if state_dict and _all_match(_MAP_KEY, state_dict):
        return _convert_map(state_dict)
    if state_dict and _all_match(_CLASSIFIER_KEY, state_dict):
        return _convert_classifier(state_dict)
    raise CheckpointError(
        "expected keys dense.N.* of a latent map or fcs.N.* of a latent classifier, found neither"
    )


def restore(arguments: Mapping[str, Any], flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dictionary that `convert` would turn into `flat`."""
    del arguments
    if "kernel" in flat:
        rows = range(len(flat["kernel"]))
        weights = {f"dense.{row}.weight": flat["kernel"][row].T for row in rows}
        return weights | {f"dense.{row}.bias": flat["bias"][row] for row in rows}
    layers = range(len(flat) // 2)
    weights = {f"fcs.{layer}.weight": flat[f"layers/{layer}/kernel"].T for layer in layers}
    return weights | {f"fcs.{layer}.bias": flat[f"layers/{layer}/bias"] for layer in layers}


def _state_dict(tree: Any) -> StateDict:
    return strip_prefix(find_state_dict(tree, "state_dict"))


def _all_match(pattern: re.Pattern[str], state_dict: StateDict) -> bool:
    return all(pattern.fullmatch(key) for key in state_dict)


def _convert_map(state_dict: StateDict) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    num_styles = _count(_MAP_KEY, state_dict)
    size = _matrix(state_dict, "dense.0.weight").shape[0]
    expected = {f"dense.{row}.weight": (size, size) for row in range(num_styles)}
    expected |= {f"dense.{row}.bias": (size,) for row in range(num_styles)}
    check_keys(state_dict, expected, source="a latent map (F_mapping)")
    flat = {
        "kernel": np.stack([state_dict[f"dense.{row}.weight"].T for row in range(num_styles)]),
        "bias": np.stack([state_dict[f"dense.{row}.bias"] for row in range(num_styles)]),
    }
    return "LatentTransformer", {"num_styles": num_styles, "style_dim": size}, flat


def _convert_classifier(state_dict: StateDict) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    num_layers = _count(_CLASSIFIER_KEY, state_dict)
    matrices = [_matrix(state_dict, f"fcs.{layer}.weight") for layer in range(num_layers)]
    sizes = [matrices[0].shape[1], *(matrix.shape[0] for matrix in matrices)]
    expected = {
        f"fcs.{layer}.weight": (sizes[layer + 1], sizes[layer]) for layer in range(num_layers)
    }
    expected |= {f"fcs.{layer}.bias": (sizes[layer + 1],) for layer in range(num_layers)}
    check_keys(state_dict, expected, source="a latent classifier (LCNet)")
    if sizes[0] % STYLE_DIM:
        raise CheckpointError(
            f"expected a classifier of codes with rows of {STYLE_DIM}, got {sizes[0]} inputs"
        )
    arguments = {
        "num_styles": sizes[0] // STYLE_DIM,
        "style_dim": STYLE_DIM,
        "hidden_sizes": sizes[1:-1],
        "num_attributes": sizes[-1],
    }
    flat = {f"layers/{layer}/kernel": matrix.T for layer, matrix in enumerate(matrices)}
    flat |= {f"layers/{layer}/bias": state_dict[f"fcs.{layer}.bias"] for layer in range(num_layers)}
    return "LatentClassifier", arguments, flat


def _count(pattern: re.Pattern[str], state_dict: StateDict) -> int:
    return len({match[1] for key in state_dict if (match := pattern.fullmatch(key))})


def _matrix(state_dict: StateDict, key: str) -> np.ndarray:
    if key not in state_dict or state_dict[key].ndim != 2:
        raise CheckpointError(
            f"expected a matrix {key}, found shape {np.shape(state_dict.get(key))}; is it missing?"
        )
    return state_dict[key]
