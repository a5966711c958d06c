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
from sdflow_jax.files import networks
from sdflow_jax.models.inversion_encoder import pyramid_level

KIND = "e4e or pSp inversion encoder"

_PREFIX = "encoder."
_AVERAGE = "latent_average"

# What their options call the two, by our names on the command line.
_TYPES = {"e4e": "Encoder4Editing", "psp": "GradualStyleEncoder"}
ENCODER_TYPES = tuple(_TYPES)


def matches(tree: Any) -> bool:
    """Whether `tree` is a checkpoint of e4e or pSp, whatever its type of encoder."""
    state_dict = _encoder(tree)
    return "styles.0.linear.weight" in state_dict or (
        bool(state_dict) and "encoder_type" in _options(tree)
    )


def convert(
    tree: Any, *, average_style: np.ndarray | None = None, encoder_type: str | None = None
) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Registry name, constructor arguments and arrays of our `InversionEncoder`.

    Codes are measured from the checkpoint's own average code, as in upstream's latent extraction;
    from zero if its options say so (`start_from_latent_avg`).

    Args:
      tree: the checkpoint.
      average_style: measure codes from this style in every row, [d], whatever the checkpoint holds;
        see `read_average_style`.
      encoder_type: one of `ENCODER_TYPES`, for a checkpoint whose options do not tell.

    Raises:
      CheckpointError: if a key is missing, unexpected or mis-shaped, the average code is missing, or
        the encoder is of another or an unknown type.
    """
    source = "encoder of an e4e or pSp checkpoint"
    state_dict = _encoder(tree)
    arguments: dict[str, Any] = dict(irse_arguments(state_dict, "", source=source))
    encoder_type = _encoder_type(_options(tree), encoder_type)
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
        "base_code": encoder_type == "e4e",
    }
    flat = to_flax(state_dict, _entries(arguments), "InversionEncoder", arguments, source=source)
    shape = (num_styles, arguments["style_dim"])
    flat[_AVERAGE] = (
        _average(tree, shape) if average_style is None else _repeated(average_style, shape)
    )
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
        "opts": {"encoder_type": _TYPES["e4e" if arguments.get("base_code", True) else "psp"]},
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


def _encoder_type(options: Mapping[str, Any], given: str | None) -> str:
    if "encoder_type" not in options:
        if given is None:
            raise CheckpointError(
                "the checkpoint does not tell whether its encoder is e4e's or pSp's, which have the"
                f" same keys; choose one with --encoder-type={' or --encoder-type='.join(_TYPES)}"
            )
        return given
    told = options["encoder_type"]
    known = {name: ours for ours, name in _TYPES.items()}
    if not isinstance(told, str) or told not in known:
        raise CheckpointError(
            f"expected an encoder of type {' or '.join(known)}, got {str(told)[:80]!r}"
        )
    if given not in (None, known[told]):
        raise CheckpointError(f"--encoder-type={given} is given, but its options say {told}")
    return known[told]


def _repeated(style: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if style.shape != shape[1:]:
        raise CheckpointError(
            f"expected an average style of length {shape[1]}, as the encoder's, got shape"
            f" {style.shape}; is the generator another one's?"
        )
    return np.tile(style, (shape[0], 1))


def _average(tree: Mapping[str, Any], shape: tuple[int, int]) -> np.ndarray:
    if not _options(tree).get("start_from_latent_avg", True):
        return np.zeros(shape, np.float32)
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
