"""Computes what an OpenVINO IR describes, operation by operation in NumPy, for tests.

Written from OpenVINO's description of its operations, and of nothing else here: it reads the files
itself and knows neither the converter nor the network.
"""

import pathlib
from xml.etree import ElementTree

import numpy as np

_TYPES = {"f32": np.float32, "i64": np.int64}


def interpret(xml: pathlib.Path, value: np.ndarray) -> np.ndarray:
    """The result of the network in `xml` (and the `.bin` beside it) for its one parameter."""
    root = ElementTree.parse(xml).getroot()
    weights = xml.with_suffix(".bin").read_bytes()
    sources: dict[str, dict[int, tuple[str, int]]] = {}
    for edge in root.iter("edge"):
        place = edge.get("from-layer"), int(edge.get("from-port"))
        sources.setdefault(edge.get("to-layer"), {})[int(edge.get("to-port"))] = place
    results: dict[tuple[str, int], np.ndarray] = {}
    for layer in root.iter("layer"):  # the files list layers after those that they read
        number, kind, data = layer.get("id"), layer.get("type"), layer.find("data").attrib
        ports = sources.get(number, {})
        inputs = [results[ports[port]] for port in sorted(ports)]
        if kind == "Result":
            return inputs[0]
        if kind == "Parameter":
            outputs = [value]
        elif kind == "Const":
            shape = tuple(int(n) for n in data["shape"].split(",") if n.strip())
            dtype, start = _TYPES[data["element_type"]], int(data["offset"])
            raw = weights[start : start + int(data["size"])]
            outputs = [np.frombuffer(raw, dtype).reshape(shape)]
        elif kind == "VariadicSplit":
            lengths = inputs[2].tolist()
            outputs = np.split(inputs[0], np.cumsum(lengths)[:-1], axis=int(inputs[1]))
        else:
            outputs = [_OPERATIONS[kind](data, *inputs)]
        for i, output in enumerate(outputs):
            results[number, len(inputs) + i] = output
    raise AssertionError(f"{xml} has no result")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _convolve(data, x, kernel):
    """[1, i, h, w] by [o, i, p, q], in steps of one."""
    top, left = _numbers(data["pads_begin"])
    bottom, right = _numbers(data["pads_end"])
    assert _numbers(data["strides"]) == [1, 1]
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))
    return np.einsum("bihwpq,oipq->bohw", windows, kernel)


def _group_convolve(data, x, kernel):
    groups = np.split(x, kernel.shape[0], axis=1)
    return np.concatenate(
        [_convolve(data, group, k) for group, k in zip(groups, kernel, strict=True)], axis=1
    )


def _group_convolve_transposed(data, x, kernel):
    """Each pixel paints the kernel, times its value, at its place times the stride."""
    assert kernel.shape[1:3] == (1, 1)
    (rows, columns), (tall, wide) = _numbers(data["strides"]), kernel.shape[3:]
    batch, channels, height, width = x.shape
    shape = (batch, channels, (height - 1) * rows + tall, (width - 1) * columns + wide)
    image = np.zeros(shape, x.dtype)
    for row in range(height):
        for column in range(width):
            top, left = row * rows, column * columns
            stamp = x[:, :, row, column, None, None] * kernel[None, :, 0, 0]
            image[:, :, top : top + tall, left : left + wide] += stamp
    return image


def _matmul(data, x, y):
    x = x.T if data["transpose_a"] == "true" else x
    return x @ (y.T if data["transpose_b"] == "true" else y)


_OPERATIONS = {
    "Add": lambda _, x, y: x + y,
    "Multiply": lambda _, x, y: x * y,
    "Power": lambda _, x, y: x**y,
    "PReLU": lambda _, x, slope: np.where(x < 0, slope * x, x),
    "ReduceMean": lambda data, x, axis: x.mean(tuple(axis), keepdims=data["keep_dims"] == "true"),
    "Reshape": lambda _, x, shape: x.reshape(tuple(shape)),
    "Squeeze": lambda _, x, axis: x.squeeze(tuple(axis)),
    "MatMul": _matmul,
    "Convolution": _convolve,
    "GroupConvolution": _group_convolve,
    "GroupConvolutionBackpropData": _group_convolve_transposed,
}
