"""ArcFace networks: the IR-SE50 `Backbone` of pSp and e4e, the same without squeeze and excitation
(IR), and InsightFace's iresnets.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.correspondence import Entry, batch_norm, flattened_linear, linear, to_flax, to_torch
from converters.errors import CheckpointError
from converters.residual_tables import count_children, iresnet_body, irse_arguments, irse_body
from converters.state_dict import StateDict, find_state_dict, strip_prefix
from sdflow_jax.models.iresnet import UNITS

KIND = "identity encoder (ArcFace IR-SE or IR, or InsightFace iresnet)"


def matches(tree: Any) -> bool:
    """Whether `tree` is a checkpoint of either network."""
    state_dict = _state_dict(tree)
    return _is_irse(state_dict) or (
        "features.weight" in state_dict and "prelu.weight" in state_dict
    )


def convert(tree: Any) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Registry name, constructor arguments and arrays of our `IdentityEncoder` or `IResNet`.

    Raises:
      CheckpointError: if a key is missing, unexpected or mis-shaped, or the network has an unknown
        layout.
    """
    state_dict = _state_dict(tree)
    if _is_irse(state_dict):
        is_gated = "body.0.res_layer.5.fc1.weight" in state_dict
        network, source = "IdentityEncoder", "IR-SE network" if is_gated else "IR network"
        arguments: dict[str, Any] = dict(irse_arguments(state_dict, "", source=source))
        arguments |= {"squeeze_excitation": is_gated}
        arguments |= _embedding_arguments(
            state_dict, "output_layer.3.weight", arguments["widths"][-1], source
        )
    else:
        network, source = "IResNet", "InsightFace iresnet"
        arguments = _iresnet_arguments(state_dict, source)
        arguments |= _embedding_arguments(state_dict, "fc.weight", arguments["widths"][-1], source)
    return (
        network,
        arguments,
        to_flax(state_dict, _entries(arguments), network, arguments, source=source),
    )


def restore(arguments: Mapping[str, Any], flat: Mapping[str, np.ndarray]) -> StateDict:
    """The state dictionary that `convert` would turn into `flat`."""
    return to_torch(flat, _entries(arguments))


def _state_dict(tree: Any) -> StateDict:
    return strip_prefix(find_state_dict(tree, "state_dict", "model", "net"))


def _is_irse(state_dict: StateDict) -> bool:
    return "output_layer.3.weight" in state_dict and "input_layer.0.weight" in state_dict


def _iresnet_arguments(state_dict: StateDict, source: str) -> dict[str, Any]:
    units = tuple(count_children(state_dict, f"layer{stage}.") for stage in (1, 2, 3, 4))
    depths = {known: depth for depth, known in UNITS.items()}
    keys = ["conv1.weight", *(f"layer{stage}.0.conv2.weight" for stage in (1, 2, 3, 4))]
    if units not in depths or any(key not in state_dict for key in keys):
        raise CheckpointError(
            f"{source}: expected one of depth {', '.join(map(str, UNITS))},"
            f" got stages of {units} units"
        )
    return {"depth": depths[units], "widths": [int(state_dict[key].shape[0]) for key in keys]}


def _embedding_arguments(
    state_dict: StateDict, key: str, features: int, source: str
) -> dict[str, int]:
    shape = state_dict[key].shape if key in state_dict else ()
    map_size = math.isqrt(shape[1] // features) if len(shape) == 2 else 0
    if not map_size or map_size**2 * features != shape[1]:
        raise CheckpointError(
            f"{source}: expected {key} to read a square map of {features} channels,"
            f" got shape {shape}"
        )
    return {"image_size": 16 * map_size, "embedding_dim": int(shape[0])}


def _entries(arguments: Mapping[str, Any]) -> list[Entry]:
    layout = flattened_linear(arguments["image_size"] // 16)
    if "depth" in arguments:
        entries = iresnet_body("", "body", UNITS[arguments["depth"]])
        norm_in, dense, norm_out = "bn2", "fc", "features"
    else:
        entries = irse_body(
            "",
            "body",
            arguments["widths"],
            arguments["units"],
            squeeze_excitation=arguments["squeeze_excitation"],
        )
        norm_in, dense, norm_out = "output_layer.0", "output_layer.3", "output_layer.4"
    entries += batch_norm(norm_in, "embedding/input_norm")
    entries += linear(dense, "embedding/linear", layout)
    return entries + batch_norm(norm_out, "embedding/output_norm")
