"""The e4e encoder and pSp's: the `encoder.` part of their checkpoint, and the average code.

Upstream `models/e4e/psp_encoders.py`. Both have the same keys: which of the two it is, the
checkpoint's options tell.
"""

import argparse
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
from sdflow_jax import networks
from sdflow_jax.models.inversion_encoder import pyramid_level

KIND = "e4e or pSp inversion encoder"

_PREFIX = "encoder."
_AVERAGE = "latent_average"

_E4E, _PSP = "Encoder4Editing", "GradualStyleEncoder"


def matches(tree: Any) -> bool:
    """Whether `tree` is a checkpoint of e4e or pSp, whatever its type of encoder."""
    state_dict = _encoder(tree)
    return "styles.0.linear.weight" in state_dict or (
        bool(state_dict) and "encoder_type" in _options(tree)
    )


def convert(
    tree: Any, *, average_style: np.ndarray | None = None
) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Registry name, constructor arguments and arrays of our `InversionEncoder`.

    Codes are measured from the checkpoint's own average code, as in upstream's latent extraction;
    from zero if its options say so (`start_from_latent_avg`). A checkpoint without options is taken
    for e4e's.

    Args:
      tree: the checkpoint.
      average_style: measure codes from this style in every row, [d], whatever the checkpoint holds;
        see `read_average_style`.

    Raises:
      CheckpointError: if a key is missing, unexpected or mis-shaped, the average code is missing, or
        the encoder is of another type.
    """
    options = _options(tree)
    encoder_type = options.get("encoder_type", _E4E)
    if encoder_type not in (_E4E, _PSP):
        raise CheckpointError(
            f"expected an encoder of type {_E4E} or {_PSP}, got {str(encoder_type)[:80]!r}"
        )
    source = f"encoder of a checkpoint of {'e4e' if encoder_type == _E4E else 'pSp'}"
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
        "base_code": encoder_type == _E4E,
    }
    flat = to_flax(state_dict, _entries(arguments), "InversionEncoder", arguments, source=source)
    shape = (num_styles, arguments["style_dim"])
    if average_style is not None:
        if average_style.shape != shape[1:]:
            raise CheckpointError(
                f"expected an average style of length {shape[1]}, as the encoder's, got shape"
                f" {average_style.shape}; is the generator another one's?"
            )
        flat[_AVERAGE] = np.tile(average_style, (num_styles, 1))
    elif options.get("start_from_latent_avg", True):
        flat[_AVERAGE] = _average(tree, shape)
    else:
        flat[_AVERAGE] = np.zeros(shape, np.float32)
    return "InversionEncoder", arguments, flat


def restore(arguments: Mapping[str, Any], flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The checkpoint `{"state_dict", "latent_avg", "opts"}` that `convert` would turn into `flat`.

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
        "opts": {"encoder_type": _E4E if arguments.get("base_code", True) else _PSP},
    }


def read_average_style(generator: str | os.PathLike[str]) -> np.ndarray:
    """The average style in a generator's network file, which upstream's demo measures codes from.

    Raises:
      CheckpointError: if the file holds another network.
      NetworkFileError: if it is no network file.
    """
    network = networks.read_metadata(generator)["network"]
    if network != "Generator":
        raise CheckpointError(f"{generator}: expected a Generator, the file holds a {network}")
    with safe_open(generator, framework="numpy") as file:
        return file.get_tensor("w_average").astype(np.float32)


def _encoder(tree: Any) -> StateDict:
    if not isinstance(tree, dict) or not is_state_dict(tree.get("state_dict")):
        return {}
    return select_prefix(strip_prefix(find_state_dict(tree, "state_dict")), _PREFIX)


def _options(tree: Any) -> Mapping[str, Any]:
    """What the training was started with: pickled as a dictionary or as a Namespace."""
    options = tree.get("opts") if isinstance(tree, dict) else None
    if isinstance(options, argparse.Namespace):
        return vars(options)
    return options if isinstance(options, dict) else {}


def _average(tree: Mapping[str, Any], shape: tuple[int, int]) -> np.ndarray:
    average = tree.get("latent_avg")
    if average is None:
        raise CheckpointError(
            f"the checkpoint has no latent_avg of shape {shape} that codes are measured from;"
            " take a generator's average style with --average-of"
        )
    if not isinstance(average, np.ndarray) or average.shape not in (shape, shape[1:]):
        found = average.shape if isinstance(average, np.ndarray) else type(average).__name__
        raise CheckpointError(f"expected latent_avg of shape {shape} or {shape[1:]}, got {found}")
    return np.array(np.broadcast_to(average, shape), np.float32)


def _entries(arguments: Mapping[str, Any]) -> list[Entry]:
    entries = irse_body(
        "", "body", arguments["widths"], arguments["units"], squeeze_excitation=True
    )
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
