"""The e4e encoder: the `encoder.` part of its checkpoint, and the average code.

Upstream `models/e4e/psp_encoders.py`.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import safe_open

from converters.correspondence import Entry, conv, linear, to_flax, to_torch
from converters.errors import CheckpointError
from converters.residual_tables import count_children, irse_arguments, irse_body
from converters.state_dict import (
    StateDict,
    find_state_dict,
    is_state_dict,
    select_prefix,
    strip_prefix,
)
from sdflow_jax.files import networks
from sdflow_jax.models.inversion_encoder import pyramid_level

KIND = "e4e inversion encoder"

_PREFIX = "encoder."
_AVERAGE = "latent_average"


def matches(tree: Any) -> bool:
    """Whether `tree` is an e4e checkpoint."""
    return "styles.0.linear.weight" in _encoder(tree)


def convert(tree: Any) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Registry name, constructor arguments and arrays of our `InversionEncoder`.

    The average code is the checkpoint's own, as in upstream's latent extraction; upstream's demo
    adds the generator's, see `repeat_average_style`.

    Raises:
      CheckpointError: if a key is missing, unexpected or mis-shaped, or the average code is
        missing.
    """
    source = "encoder of an e4e checkpoint"
    state_dict = _encoder(tree)
    arguments: dict[str, Any] = dict(irse_arguments(state_dict, "", source=source))
    num_styles = count_children(state_dict, "styles.")
    first, last = "styles.0.convs.0.weight", "styles.0.linear.weight"
    if first not in state_dict or last not in state_dict:
        raise CheckpointError(
            f"{source}: expected keys {first!r} and {last!r}; is this another pSp encoder?"
        )
    num_halvings = len(
        {key for key in state_dict if key.startswith("styles.0.convs.") and key.endswith("weight")}
    )
    arguments |= {
        "image_size": 16 * 2**num_halvings,
        "num_styles": num_styles,
        "style_dim": int(state_dict[last].shape[0]),
        "head_width": int(state_dict[first].shape[0]),
        "offset_scale": 1.0,
        "equalized_heads": True,
    }
    flat = to_flax(state_dict, _entries(arguments), "InversionEncoder", arguments, source=source)
    flat[_AVERAGE] = _average(tree, num_styles, arguments["style_dim"])
    return "InversionEncoder", arguments, flat


def restore(arguments: Mapping[str, Any], flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The checkpoint `{"state_dict", "latent_avg"}` that `convert` would turn into `flat`.

    Raises:
      ValueError: if the encoder scales its offsets or not its heads' weights, unlike upstream's.
    """
    if arguments.get("offset_scale", 1.0) != 1.0:
        raise ValueError(f"e4e has no scale on its offsets, got {arguments['offset_scale']}")
    if not arguments.get("equalized_heads", False):
        raise ValueError("e4e scales its heads' weights at run time; this encoder does not")
    state_dict = to_torch(flat, _entries(arguments))
    return {
        "state_dict": {_PREFIX + key: value for key, value in state_dict.items()},
        "latent_avg": np.asarray(flat[_AVERAGE]),
    }


def repeat_average_style(
    arrays: Mapping[str, np.ndarray], generator: str | os.PathLike[str]
) -> dict[str, np.ndarray]:
    """The encoder's arrays with a generator's average style in every row of the average code.

    Args:
      arrays: of an `InversionEncoder`.
      generator: the generator's network file.

    Raises:
      CheckpointError: if the file holds another network, or one with styles of another length.
      NetworkFileError: if it is no network file.
    """
    network = networks.read_metadata(generator)["network"]
    if network != "Generator":
        raise CheckpointError(f"{generator}: expected a Generator, the file holds a {network}")
    with safe_open(generator, framework="numpy") as file:
        style = file.get_tensor("w_average").astype(np.float32)
    num_styles, style_dim = arrays[_AVERAGE].shape
    if style.shape != (style_dim,):
        raise CheckpointError(
            f"{generator}: expected styles of length {style_dim}, as the encoder's,"
            f" got {style.shape[0]}"
        )
    return {**arrays, _AVERAGE: np.tile(style, (num_styles, 1))}


def _encoder(tree: Any) -> StateDict:
    if not isinstance(tree, dict) or not is_state_dict(tree.get("state_dict")):
        return {}
    return select_prefix(strip_prefix(find_state_dict(tree, "state_dict")), _PREFIX)


def _average(tree: Mapping[str, Any], num_styles: int, style_dim: int) -> np.ndarray:
    average = tree.get("latent_avg")
    if not isinstance(average, np.ndarray) or average.shape not in {
        (style_dim,),
        (num_styles, style_dim),
    }:
        found = average.shape if isinstance(average, np.ndarray) else type(average).__name__
        raise CheckpointError(
            f"e4e checkpoint: expected latent_avg of shape {(num_styles, style_dim)}"
            f" or {(style_dim,)}, got {found}"
        )
    return np.array(np.broadcast_to(average, (num_styles, style_dim)), np.float32)


def _entries(arguments: Mapping[str, Any]) -> list[Entry]:
    entries = irse_body("", "body", arguments["widths"], arguments["units"])
    entries += conv("latlayer1", "middle_lateral", bias=True) + conv(
        "latlayer2", "fine_lateral", bias=True
    )
    for style in range(arguments["num_styles"]):
        for i in range(_num_halvings(arguments["image_size"], style)):
            # Convolutions alternate with activations in upstream's Sequential, so they have the
            # even numbers.
            entries += conv(f"styles.{style}.convs.{2 * i}", f"heads/{style}/convs/{i}", bias=True)
        entries += linear(f"styles.{style}.linear", f"heads/{style}/linear")
    return entries


def _num_halvings(image_size: int, style: int) -> int:
    coarse = (image_size // 16).bit_length() - 1
    return coarse + pyramid_level(style)
