"""The parameters of MobileStyleGAN, found in its two graphs.

Some constants have the names of the original parameters. Those that the export folded together
(demodulated kernels, noise images times their strength) lost theirs, and are found as what the
layer of a named one reads. Constants that are neither must be numbers that the network computes
with, so that a graph that computes something else is not taken for it.
"""

from collections.abc import Collection, Mapping

import numpy as np

from converters.errors import CheckpointError
from converters.ir_files import NETWORKS
from converters.openvino_reader import Graph
from converters.state_dict import StateDict

_MAX_MAPPING_LAYERS = 64

_TRANSPOSED = {"transpose_a": "false", "transpose_b": "true"}
_POINTWISE = {"strides": "1,1", "dilations": "1,1", "pads_begin": "0,0", "pads_end": "0,0"}
_PADDED = {**_POINTWISE, "pads_begin": "1,1", "pads_end": "1,1"}

_GAIN = float(np.float32(np.sqrt(2)))
_SLOPE = float(np.float32(0.2))
_HAAR = float(np.float32(np.sqrt(0.5)))
# Magnitudes of the numbers that are no parameters: of the pixel norm in the mapping network
# (powers, epsilon), of the rectifiers and the inverse wavelet in the synthesis network.
_ARITHMETIC = {
    NETWORKS[0]: (1.0, 2.0, 0.5, float(np.float32(1e-8)), _SLOPE, _GAIN),
    NETWORKS[1]: (_SLOPE, _HAAR),
}


def named_parameters(graphs: Mapping[str, Graph]) -> StateDict:
    """All parameters by name: that in the graph without its `m.`, or one like its neighbors'.

    Args:
      graphs: as `ir_files.read_networks` returns them.

    Returns:
      `mapping.I.weight` and `.bias`, `input.input`, and for each styled layer `conv.weight`,
      `conv.weight_dw`, `conv.modulation.weight` and `.bias`, `noise`, `bias`, shaped as in the
      graph. Constant factors on styles are multiplied in.

    Raises:
      CheckpointError: naming the network, if a parameter is missing or a graph computes with other
        numbers.
    """
    state_dict: StateDict = {}
    for name, read in zip(NETWORKS, (_mapping_parameters, _synthesis_parameters), strict=True):
        try:
            parameters = _Parameters(graphs[name])
            read(parameters)
            parameters.check_others(_ARITHMETIC[name])
        except CheckpointError as error:
            raise CheckpointError(f"{name}: {error}") from error
        state_dict |= parameters.found
    return state_dict


def count_blocks(names: Collection[str]) -> int:
    """How many times the network with parameters of these names doubles the resolution.

    Raises:
      CheckpointError: if it never does.
    """
    blocks = 0
    while f"layers.{blocks}.conv1.bias" in names:
        blocks += 1
    if blocks == 0:
        raise CheckpointError("expected the block 'layers.0'; is this another network?")
    return blocks


class _Parameters:
    """Takes constants out of a graph, and remembers which."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.found: StateDict = {}
        self._taken: set[int] = set()

    def number(self, name: str) -> int:
        """The constant called `name`."""
        number = self.graph.numbers.get(name)
        if number is None or self.graph.constant(number) != number:
            raise CheckpointError(f"expected a constant {name!r}; is this another network?")
        return number

    def take(self, name: str, number: int) -> None:
        """Put a constant under `name`."""
        self.found[name] = self.use(number)

    def use(self, number: int) -> np.ndarray:
        """The array of a constant, which counts as taken."""
        self._taken.add(number)
        return self.graph.layers[number].value

    def check_others(self, known: tuple[float, ...]) -> None:
        """Require that all other fractions have one of the magnitudes `known`.

        Raises:
          CheckpointError: naming the first constant that has not.
        """
        for number, layer in self.graph.layers.items():
            if layer.value is None or layer.value.dtype.kind != "f" or number in self._taken:
                continue
            if not np.isin(np.abs(layer.value.astype(np.float32)), np.float32(known)).all():
                raise CheckpointError(
                    f"the constant {layer.name[:80]!r} of shape {layer.value.shape} is no parameter"
                    " of a MobileStyleGAN; is this another network?"
                )


def _mapping_parameters(parameters: _Parameters) -> None:
    """Follow the graph from its end to its start: each layer is gain * rectified(x W + b)."""
    graph = parameters.graph
    ends = [layer for layer in graph.layers.values() if layer.kind == "Result"]
    if len(ends) != 1 or len(ends[0].inputs) != 1:
        raise CheckpointError(f"expected one result, found {len(ends)}")
    (position,) = ends[0].inputs
    layers: list[tuple[int, int]] = []
    while any(graph.constant(source) is not None for source in graph.layers[position].inputs):
        _, rectified = graph.operands(position, "Multiply")
        _, total = graph.operands(rectified, "PReLU")
        bias, product = graph.operands(total, "Add")
        weight, position = graph.operands(product, "MatMul")
        _check_attributes(graph, product, _TRANSPOSED)
        layers.append((weight, bias))
        if len(layers) > _MAX_MAPPING_LAYERS:  # or the graph is a circle
            raise CheckpointError(f"expected at most {_MAX_MAPPING_LAYERS} layers")
    for i, (weight, bias) in enumerate(reversed(layers)):
        parameters.take(f"mapping.{i}.weight", weight)
        parameters.take(f"mapping.{i}.bias", bias)


def _synthesis_parameters(parameters: _Parameters) -> None:
    parameters.take("input.input", parameters.number("m.input.input"))
    _take_layer(parameters, "conv1", separable=False)
    blocks = count_blocks({name.removeprefix("m.") for name in parameters.graph.numbers})
    for i in range(blocks):
        _take_modulation(parameters, f"layers.{i}.up.modulation")
        _take_layer(parameters, f"layers.{i}.conv1", separable=True)
        _take_layer(parameters, f"layers.{i}.conv2", separable=True)
    colors = f"layers.{blocks - 1}.to_img"
    _take_modulation(parameters, f"{colors}.conv.modulation")
    for name in (f"{colors}.conv.weight", f"{colors}.bias"):
        parameters.take(name, parameters.number(f"m.{name}"))


def _take_layer(parameters: _Parameters, name: str, *, separable: bool) -> None:
    """A styled layer: its bias has a name, and is added to noise added to a convolution."""
    graph = parameters.graph
    _take_modulation(parameters, f"{name}.conv.modulation")
    total = graph.reader(parameters.number(f"m.{name}.bias"), "Add")
    bias, noisy = graph.operands(total, "Add")
    noise, convolved = graph.operands(noisy, "Add")
    weight, source = graph.operands(convolved, "Convolution")
    _check_attributes(graph, convolved, _POINTWISE if separable else _PADDED)
    parameters.take(f"{name}.bias", bias)
    parameters.take(f"{name}.noise", noise)
    parameters.take(f"{name}.conv.weight", weight)
    if separable:
        depthwise, _ = graph.operands(source, "GroupConvolution")
        _check_attributes(graph, source, _PADDED)
        parameters.take(f"{name}.conv.weight_dw", depthwise)


def _take_modulation(parameters: _Parameters, name: str) -> None:
    """The affine map of a style; where a constant multiplies what it gives, with that multiplied in."""
    graph = parameters.graph
    weight = parameters.number(f"m.{name}.weight")
    product = graph.reader(weight, "MatMul")
    _check_attributes(graph, product, _TRANSPOSED)
    total = graph.reader(product, "Add")
    bias, _ = graph.operands(total, "Add")
    scaled = graph.reader(graph.reader(total, "Reshape"), "Multiply")
    parameters.take(f"{name}.weight", weight)
    parameters.take(f"{name}.bias", bias)
    scales = [c for n in graph.layers[scaled].inputs if (c := graph.constant(n)) is not None]
    for number in scales:
        scale = parameters.use(number)
        if scale.size != 1:
            raise CheckpointError(f"expected one number that scales {name}, got {scale.shape}")
        for key in ("weight", "bias"):
            parameters.found[f"{name}.{key}"] = parameters.found[f"{name}.{key}"] * scale.item()


def _check_attributes(graph: Graph, number: int, expected: Mapping[str, str]) -> None:
    layer = graph.layers[number]
    for key, value in expected.items():
        found = layer.attributes.get(key, "")
        if found.replace(" ", "") != value:
            raise CheckpointError(
                f"expected {key}={value} of the {layer.kind} {layer.name[:80]!r}, got {found[:40]!r}"
            )
