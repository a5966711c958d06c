"""Writes OpenVINO IR as its model optimizer does: graphs of MobileStyleGAN's structure."""

import pathlib
import zipfile
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

import numpy as np

NETWORKS = ("MappingNetwork", "SynthesisNetwork")
ELEMENT_TYPES = {"float16": "f16", "float32": "f32", "int32": "i32", "int64": "i64"}
SCALE = np.float32(0.125)  # of styles; a power of two, so that taking it out is exact


class GraphWriter:
    """Adds layers one by one; a layer's number, or (number, output), stands for what it gives."""

    def __init__(self, name: str):
        self.name = name
        self.weights = bytearray()
        self._layers: list[str] = []
        self._edges: list[str] = []
        self._num_inputs: list[int] = []
        self._places: dict[bytes, int] = {}

    def layer(self, kind: str, *inputs, name: str | None = None, **attributes) -> int:
        number = len(self._layers)
        data = "".join(f" {key}={quoteattr(str(value))}" for key, value in attributes.items())
        self._layers.append(
            f'<layer id="{number}" name={quoteattr(name or f"{kind}_{number}")} type="{kind}">'
            f"<data{data}/></layer>"
        )
        self._num_inputs.append(len(inputs))
        for port, source in enumerate(inputs):
            source, output = source if isinstance(source, tuple) else (source, 0)
            from_port = self._num_inputs[source] + output
            self._edges.append(
                f'<edge from-layer="{source}" from-port="{from_port}"'
                f' to-layer="{number}" to-port="{port}"/>'
            )
        return number

    def constant(self, array, name: str | None = None) -> int:
        array = np.asarray(array)
        raw = array.tobytes()
        if raw not in self._places:  # equal constants share their bytes
            self._places[raw] = len(self.weights)
            self.weights += raw
        return self.layer(
            "Const",
            name=name,
            element_type=ELEMENT_TYPES[array.dtype.name],
            shape=", ".join(map(str, array.shape)),
            offset=self._places[raw],
            size=len(raw),
        )

    def xml(self) -> bytes:
        layers, edges = "\n".join(self._layers), "\n".join(self._edges)
        return (
            f'<?xml version="1.0" ?>\n<net name="{self.name}" version="10">\n<layers>\n{layers}\n'
            f"</layers>\n<edges>\n{edges}\n</edges>\n</net>\n"
        ).encode()


def write_mapping(parameters: Mapping[str, np.ndarray]) -> GraphWriter:
    """z -> w, of parameters as `mobile_stylegan.restore` names them."""
    graph = GraphWriter(NETWORKS[0])
    one = np.ones((1, 1), np.float32)
    dim = parameters["mapping.0.weight"].shape[1]
    z = graph.layer("Parameter", name="var", shape=f"1, {dim}", element_type="f32")
    squares = graph.layer("Power", z, graph.constant(2 * one))
    mean = graph.layer("ReduceMean", squares, graph.constant(np.array([1])), keep_dims="true")
    norm = graph.layer("Add", mean, graph.constant(np.float32(1e-8) * one))
    root = graph.layer("Power", norm, graph.constant(one / 2))
    inverse = graph.layer("Power", root, graph.constant(-one))
    x = graph.layer("Multiply", z, graph.layer("Multiply", graph.constant(one), inverse))
    for i in range(sum(key.startswith("mapping.") for key in parameters) // 2):
        x = _product(graph, x, parameters[f"mapping.{i}.weight"], None)
        bias = graph.constant(parameters[f"mapping.{i}.bias"])
        x = graph.layer("Add", x, graph.layer("Reshape", bias, graph.constant(np.array([1, -1]))))
        x = graph.layer("Multiply", _rectified(graph, x), graph.constant(np.sqrt(2 * one)))
    graph.layer("Result", x, name="style/sink_port_0")
    return graph


def write_synthesis(parameters: Mapping[str, np.ndarray]) -> GraphWriter:
    """w -> image, of the same parameters."""
    graph = GraphWriter(NETWORKS[1])
    dim = parameters["conv1.conv.modulation.weight"].shape[1]
    w = graph.layer("Parameter", name="style", shape=f"1, {dim}", element_type="f32")
    blocks = sum(key.endswith("conv2.noise") for key in parameters)
    # All styles come first in the published graph, the last layer's at its start.
    image = f"layers.{blocks - 1}.to_img"
    convolutions = [f"layers.{i}.conv{j}" for i in range(blocks) for j in (1, 2)]
    scaled = {
        name: _style(graph, w, parameters, f"{name}.conv.modulation", SCALE)
        for name in (image, *reversed(convolutions), "conv1")
    }
    ups = [_style(graph, w, parameters, f"layers.{i}.up.modulation", None) for i in range(blocks)]
    x = graph.constant(parameters["input.input"], "m.input.input")
    x = _layer(graph, x, scaled["conv1"], parameters, "conv1")
    for i in range(blocks):
        x = _inverse_wavelet(graph, graph.layer("Multiply", ups[i], x), parameters, i)
        for name in (f"layers.{i}.conv1", f"layers.{i}.conv2"):
            x = _layer(graph, x, scaled[name], parameters, name)
    x = graph.layer("Multiply", scaled[image], x)
    weight = graph.constant(parameters[f"{image}.conv.weight"], f"m.{image}.conv.weight")
    x = graph.layer("Convolution", x, weight, **_convolution(0))
    bias = graph.constant(parameters[f"{image}.bias"], f"m.{image}.bias")
    x = _haar(graph, graph.layer("Add", x, bias), 3, 4 * 2**blocks)
    graph.layer("Result", x, name="img/sink_port_0")
    return graph


def write_files(folder: pathlib.Path, parameters: Mapping[str, np.ndarray]) -> pathlib.Path:
    """The two networks' four files."""
    folder.mkdir(parents=True, exist_ok=True)
    for graph in (write_mapping(parameters), write_synthesis(parameters)):
        (folder / f"{graph.name}.xml").write_bytes(graph.xml())
        (folder / f"{graph.name}.bin").write_bytes(graph.weights)
    return folder


def write_wheel(path: pathlib.Path, parameters: Mapping[str, np.ndarray]) -> pathlib.Path:
    """A compressed wheel with the same files where `random-face` has them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("random_face/__init__.py", "raise SystemExit")
        for graph in (write_mapping(parameters), write_synthesis(parameters)):
            wheel.writestr(f"random_face/data/{graph.name}.xml", graph.xml())
            wheel.writestr(f"random_face/data/{graph.name}.bin", bytes(graph.weights))
    return path


def _style(graph, w, parameters, name, scale) -> int:
    """Factors for the channels; the constant that multiplies them is the last thing to come."""
    factor = 1 if scale is None else 1 / scale
    x = _product(graph, w, parameters[f"{name}.weight"] * factor, f"m.{name}.weight")
    bias = graph.constant(parameters[f"{name}.bias"] * factor, f"m.{name}.bias")
    shape = graph.constant(np.array([1, -1, 1, 1]))
    x = graph.layer("Reshape", graph.layer("Add", x, bias), shape, special_zero="true")
    if scale is None:
        return x
    return graph.layer("Multiply", x, graph.constant(np.full((1, 1, 1, 1), scale)))


def _layer(graph, x, style, parameters, name) -> int:
    x = graph.layer("Multiply", style, x)
    padding = 1
    if f"{name}.conv.weight_dw" in parameters:
        key = f"{name}.conv.weight_dw"
        kernel = graph.constant(parameters[key], f"m.{key}")
        x = graph.layer("GroupConvolution", x, kernel, **_convolution(1))
        padding = 0
    weight = graph.constant(parameters[f"{name}.conv.weight"])
    x = graph.layer("Convolution", x, weight, **_convolution(padding))
    x = graph.layer("Add", x, graph.constant(parameters[f"{name}.noise"]))
    bias = graph.constant(parameters[f"{name}.bias"], f"m.{name}.bias")
    return _rectified(graph, graph.layer("Add", x, bias))


def _inverse_wavelet(graph, x, parameters, block) -> int:
    channels = parameters[f"layers.{block}.up.modulation.weight"].shape[0] // 4
    return _haar(graph, x, channels, 4 * 2**block)


def _haar(graph, x, channels, size) -> int:
    """Transposed convolutions along columns, then along rows, as the package exports them."""
    split = graph.layer(
        "VariadicSplit", x, graph.constant(np.array(1)), graph.constant(np.array([channels, -1]))
    )
    shape = graph.constant(np.array([1, channels, 3, size, size]))
    details = graph.layer("Reshape", (split, 1), shape, special_zero="true")
    parts = graph.layer(
        "VariadicSplit", details, graph.constant(np.array(2)), graph.constant(np.array([1, 1, 1]))
    )
    lh, hl, hh = (
        graph.layer("Squeeze", (parts, i), graph.constant(np.array([2]))) for i in range(3)
    )

    def stretch(y, sign, axis) -> int:
        taps = np.float32(np.sqrt(0.5)) * np.array([1, sign], np.float32)
        kernel = np.tile(taps.reshape(1, 1, 1, 2, 1), (channels, 1, 1, 1, 1))
        kernel = kernel if axis == 0 else kernel.swapaxes(3, 4)
        strides = "2, 1" if axis == 0 else "1, 2"
        return graph.layer(
            "GroupConvolutionBackpropData", y, graph.constant(kernel), strides=strides
        )

    low = graph.layer("Add", stretch((split, 0), 1, 0), stretch(lh, -1, 0))
    high = graph.layer("Add", stretch(hl, 1, 0), stretch(hh, -1, 0))
    return graph.layer("Add", stretch(low, 1, 1), stretch(high, -1, 1))


def _product(graph, x, weight, name) -> int:
    flags = {"transpose_a": "false", "transpose_b": "true"}
    return graph.layer("MatMul", x, graph.constant(weight, name), **flags)


def _rectified(graph, x) -> int:
    return graph.layer("PReLU", x, graph.constant(np.array([0.2], np.float32)))


def _convolution(padding: int) -> dict[str, str]:
    pads = f"{padding}, {padding}"
    return {"strides": "1, 1", "pads_begin": pads, "pads_end": pads, "dilations": "1, 1"}
