"""MobileStyleGAN from the package `random-face`: which of its parameters is which array of ours.

https://github.com/bes-dev/random_face
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.average_style import mean_style
from converters.correspondence import (
    CHANNELS,
    CONV,
    LINEAR,
    MAPS,
    PLANE,
    POINTWISE,
    VECTOR,
    Entry,
    Layout,
    one_more_axis,
    to_flax,
    to_torch,
)
from converters.errors import CheckpointError
from converters.ir_files import NETWORKS
from converters.mobile_parameters import count_blocks, named_parameters
from converters.openvino_reader import Graph
from converters.state_dict import StateDict

KIND = "MobileStyleGAN (package random-face)"

_NETWORK = "MobileStyleGAN"
_AVERAGE = "w_average"
_MAPPING_LR_MULTIPLIER = 0.01  # StyleSpace's; the graph holds weights with it multiplied in


def matches(tree: Any) -> bool:
    """Whether `tree` holds the two graphs, as `ir_files.read_networks` returns them."""
    return isinstance(tree, dict) and all(isinstance(tree.get(name), Graph) for name in NETWORKS)


def notes(tree: Mapping[str, Graph]) -> dict[str, str]:
    """Terms, credits and digests, for the network file."""
    return {
        "terms": "for non-commercial research and evaluation: derived from StyleGAN2 (NVIDIA Source"
        " Code License-NC) and FFHQ (CC BY-NC-SA 4.0)",
        "credits": "MobileStyleGAN: Sergei Belousov (arXiv 2104.04767), as distributed in the package"
        " random-face; StyleGAN2 and the Flickr-Faces-HQ data set: Karras, Laine, Aittala, Hellsten,"
        " Lehtinen, Aila (NVIDIA)",
        **{
            f"sha256 of {name}.{extension}": digest
            for name in NETWORKS
            for extension, digest in tree[name].digests.items()
        },
    }


def convert(tree: Any) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Registry name, constructor arguments and arrays of our `MobileStyleGAN`.

    The average style, which the package computes when it starts, is the mean of the mapping network
    over 10,000 fixed draws of z.

    Raises:
      CheckpointError: if a parameter is missing or mis-shaped, or a graph computes with numbers that
        this network does not have.
    """
    if not matches(tree):
        raise CheckpointError(f"expected the graphs {' and '.join(NETWORKS)}")
    state_dict = named_parameters(tree)
    arguments = _arguments(state_dict)
    flat = to_flax(state_dict, _entries(arguments), _NETWORK, arguments, source=KIND)
    layers = arguments["num_mapping_layers"]
    flat[_AVERAGE] = mean_style(flat, layers, _MAPPING_LR_MULTIPLIER)
    return _NETWORK, arguments, flat


def restore(arguments: Mapping[str, Any], flat: Mapping[str, np.ndarray]) -> StateDict:
    """The parameters that `convert` would turn into `flat`, by their names in the graphs.

    Those without one there are called like their neighbors: `conv.weight`, `noise`, `mapping.I.weight`.
    """
    return to_torch(flat, _entries(arguments))


def _arguments(state_dict: StateDict) -> dict[str, Any]:
    """Constructor arguments, read off some shapes; the rest is checked against them later."""
    blocks = count_blocks(state_dict)
    last = ["conv1", *(f"layers.{i}.conv2" for i in range(blocks))]
    return {
        "resolution": 8 * 2**blocks,
        "style_dim": int(state_dict["conv1.conv.modulation.weight"].shape[-1]),
        "channels": {str(4 * 2**i): state_dict[f"{name}.bias"].size for i, name in enumerate(last)},
        "num_mapping_layers": sum(
            key.startswith("mapping.") and key.endswith(".weight") for key in state_dict
        ),
    }


def _entries(arguments: Mapping[str, Any]) -> list[Entry]:
    rows = [Entry("input.input", "trunk/constant", one_more_axis(MAPS))]
    gain = _MAPPING_LR_MULTIPLIER / arguments["style_dim"] ** 0.5
    for i in range(arguments["num_mapping_layers"]):
        torch, flax = f"mapping.{i}", f"mapping/{i}"
        rows += [
            Entry(f"{torch}.weight", f"{flax}/kernel", _without_gain(LINEAR, gain)),
            Entry(f"{torch}.bias", f"{flax}/bias", _without_gain(VECTOR, _MAPPING_LR_MULTIPLIER)),
        ]
    rows += _layer("conv1", "trunk/start", feeds_wavelet=True)
    rows.append(Entry("conv1.conv.weight", "trunk/start/kernel", _grouped(CONV)))
    blocks = len(arguments["channels"]) - 1
    for i in range(blocks):
        torch, flax = f"layers.{i}", f"trunk/blocks/{i}"
        rows += _modulation(f"{torch}.up.modulation", f"{flax}/up", feeds_wavelet=True)
        rows += _separable(f"{torch}.conv1", f"{flax}/first", feeds_wavelet=False)
        rows += _separable(f"{torch}.conv2", f"{flax}/second", feeds_wavelet=i < blocks - 1)
    torch = f"layers.{blocks - 1}.to_img"
    return [
        *rows,
        *_modulation(f"{torch}.conv.modulation", "color_modulation", feeds_wavelet=False),
        Entry(f"{torch}.conv.weight", "colors/kernel", _grouped(POINTWISE)),
        Entry(f"{torch}.bias", "colors/bias", _grouped(CHANNELS)),
    ]


def _separable(torch: str, flax: str, *, feeds_wavelet: bool) -> list[Entry]:
    pointwise = _grouped(POINTWISE) if feeds_wavelet else POINTWISE
    return [
        *_layer(torch, flax, feeds_wavelet=feeds_wavelet),
        Entry(f"{torch}.conv.weight_dw", f"{flax}/depthwise", _DEPTHWISE),
        Entry(f"{torch}.conv.weight", f"{flax}/pointwise", pointwise),
    ]


def _layer(torch: str, flax: str, *, feeds_wavelet: bool) -> list[Entry]:
    """Rows of a styled layer without its kernels."""
    bias = _grouped(CHANNELS) if feeds_wavelet else CHANNELS
    return [
        *_modulation(f"{torch}.conv.modulation", f"{flax}/modulation", feeds_wavelet=False),
        Entry(f"{torch}.noise", f"{flax}/noise", PLANE),
        Entry(f"{torch}.bias", f"{flax}/bias", bias),
    ]


def _modulation(torch: str, flax: str, *, feeds_wavelet: bool) -> list[Entry]:
    kernel, bias = LINEAR, one_more_axis(VECTOR)
    if feeds_wavelet:
        kernel, bias = _grouped(kernel), _grouped(bias)
    return [
        Entry(f"{torch}.weight", f"{flax}/kernel", kernel),
        Entry(f"{torch}.bias", f"{flax}/bias", bias),
    ]


_DEPTHWISE = Layout(  # C11HW <-> HWC
    lambda x: x[:, 0, 0].transpose(1, 2, 0), lambda x: x.transpose(2, 0, 1)[:, None, None]
)


def _grouped(layout: Layout) -> Layout:
    """The same layout for what a wavelet reads: the last axis of ours has 4 groups of c channels.

    In the graph the first c are low frequencies too, but the other 3 c come by threes: of rows, of
    columns and of both, for one channel after the other.
    """

    def order(size: int) -> np.ndarray:
        channels = size // 4
        details = channels + np.arange(3 * channels).reshape(channels, 3)
        return np.concatenate([np.arange(channels), details.T.ravel()])

    def forward(x: np.ndarray) -> np.ndarray:
        x = layout.forward(x)
        return x[..., order(x.shape[-1])]

    def backward(x: np.ndarray) -> np.ndarray:
        return layout.backward(x[..., np.argsort(order(x.shape[-1]))])

    return Layout(forward, backward)


def _without_gain(layout: Layout, gain: float) -> Layout:
    """The same layout with a factor taken out that ours applies when it runs."""
    return Layout(
        lambda x: layout.forward(x) / np.float32(gain),
        lambda x: layout.backward(x) * np.float32(gain),
    )
