"""Reads OpenVINO's intermediate representation (IR, version 10) without OpenVINO, and without
trusting it.

A network is two files. `NAME.xml` lists its layers, numbered and typed, and the edges between
them; `NAME.bin` holds the constants as raw little-endian numbers, at the offsets that the XML
gives. Equal constants share their bytes, others follow each other without a gap.
https://docs.openvino.ai/2021.4/openvino_docs_MO_DG_IR_and_opsets.html
"""

import dataclasses
import functools
import hashlib
import itertools
import math
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from converters.errors import CheckpointError

VERSION = "10"
MAX_XML_BYTES = 4 * 2**20  # ten times the largest graph here
MAX_WEIGHTS_BYTES = 256 * 2**20  # eight times the largest constants here
MAX_XML_DEPTH = 16
MAX_DIMENSIONS = 8

_MAX_DIGITS = 12
_CONSTANT = "Const"
_ELEMENT_TYPES = {"f16": "<f2", "f32": "<f4", "i32": "<i4", "i64": "<i8"}


@dataclasses.dataclass(frozen=True)
class Layer:
    """One node.

    Args:
      name: unique in the graph.
      kind: its operation.
      inputs: numbers of the layers that it reads, in the order of its ports.
      attributes: of the operation, as text.
      value: the array of a constant, else None.
    """

    name: str
    kind: str
    inputs: tuple[int, ...]
    attributes: Mapping[str, str]
    value: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Graph:
    """A network as IR describes it.

    Args:
      layers: by their number.
      digests: SHA-256 of the two files in hex, by "xml" and "bin".
    """

    layers: Mapping[int, Layer]
    digests: Mapping[str, str]

    @functools.cached_property
    def numbers(self) -> dict[str, int]:
        """Numbers of the layers by name."""
        return {layer.name: number for number, layer in self.layers.items()}

    @functools.cached_property
    def _readers(self) -> dict[int, list[int]]:
        readers: dict[int, list[int]] = {number: [] for number in self.layers}
        for number, layer in self.layers.items():
            for source in layer.inputs:
                readers[source].append(number)
        return readers

    def reader(self, number: int, kind: str) -> int:
        """The one layer of operation `kind` that reads layer `number`.

        Raises:
          CheckpointError: if none or several do.
        """
        found = [n for n in self._readers[number] if self.layers[n].kind == kind]
        if len(found) != 1:
            raise CheckpointError(
                f"expected one {kind} that reads {self._describe(number)}, found {len(found)}"
            )
        return found[0]

    def constant(self, number: int) -> int | None:
        """The constant that layer `number` is, or only gives another shape; None for others."""
        layer = self.layers[number]
        if layer.kind == "Reshape" and layer.inputs:
            number, layer = layer.inputs[0], self.layers[layer.inputs[0]]
        return number if layer.kind == _CONSTANT else None

    def operands(self, number: int, kind: str) -> tuple[int, int]:
        """The two inputs of layer `number`, an operation `kind` on a constant: the constant, and
        the other.

        Raises:
          CheckpointError: if the layer is another operation, or not on one constant.
        """
        layer = self.layers[number]
        inputs = [(self.constant(source), source) for source in layer.inputs]
        constants = [found for found, _ in inputs if found is not None]
        others = [source for found, source in inputs if found is None]
        if layer.kind != kind or len(constants) != 1 or len(others) != 1:
            raise CheckpointError(
                f"expected the operation {kind} with one constant, got {self._describe(number)}"
                f" with {len(constants)} of {len(inputs)} inputs constant"
            )
        return constants[0], others[0]

    def _describe(self, number: int) -> str:
        layer = self.layers[number]
        return f"layer {number} ({layer.kind[:40]} {layer.name[:80]!r})"


def read_graph(xml: bytes | memoryview, weights: bytes | memoryview) -> Graph:
    """The network in the content of an `.xml` and a `.bin` file.

    Arrays are read-only views of `weights`.

    Raises:
      CheckpointError: if the XML is damaged, has a document type (and with it entities), or is no
        IR of version 10; if an edge or a constant does not fit; if bytes of `weights` belong to no
        constant or to two that differ.
    """
    for content, limit, what in (
        (xml, MAX_XML_BYTES, ".xml"),
        (weights, MAX_WEIGHTS_BYTES, ".bin"),
    ):
        if len(content) > limit:
            raise CheckpointError(
                f"expected an {what} of at most {limit} bytes, got {len(content)}"
            )
    root = _parse(bytes(xml))
    if root.tag != "net" or root.get("version") != VERSION:
        raise CheckpointError(
            f"expected a <net> of IR version {VERSION},"
            f" got <{root.tag[:40]}> of version {str(root.get('version'))[:40]!r}"
        )
    elements = _numbered(root)
    inputs = _read_edges(root, elements)
    layers: dict[int, Layer] = {}
    spans: dict[tuple[int, int], str] = {}
    for number, element in elements.items():
        name, kind = element.get("name", ""), element.get("type", "")
        data = element.find("data")
        attributes = {} if data is None else data.attrib
        value = None
        if kind == _CONSTANT:
            value, span = _read_constant(name, data, weights)
            spans.setdefault(span, name)
        layers[number] = Layer(name, kind, inputs[number], attributes, value)
    _check_spans(spans, len(weights))
    if len({layer.name for layer in layers.values()}) != len(layers):
        raise CheckpointError("two layers have the same name")
    digests = {"xml": hashlib.sha256(xml).hexdigest(), "bin": hashlib.sha256(weights).hexdigest()}
    return Graph(layers, digests)


def _parse(xml: bytes) -> ElementTree.Element:
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_XML_DEPTH:
            raise CheckpointError(f"the XML nests more than {MAX_XML_DEPTH} elements")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        # Entities, which can grow without bound or name other files, need a document type.
        raise CheckpointError("refused an XML with a document type, which no IR has")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(xml, True)
    except expat.ExpatError as error:
        raise CheckpointError(f"the XML is damaged ({error})") from error
    return builder.close()


def _numbered(root: ElementTree.Element) -> dict[int, ElementTree.Element]:
    elements: dict[int, ElementTree.Element] = {}
    for element in root.iterfind("layers/layer"):
        number = _integer(element, "id")
        if number in elements:
            raise CheckpointError(f"the XML lists layer {number} twice")
        elements[number] = element
    return elements


def _read_edges(
    root: ElementTree.Element, elements: Mapping[int, ElementTree.Element]
) -> dict[int, tuple[int, ...]]:
    """Of each layer the layers that it reads, in the order of its input ports."""
    sources: dict[int, dict[int, int]] = {number: {} for number in elements}
    for edge in root.iterfind("edges/edge"):
        source, target, port = (
            _integer(edge, key) for key in ("from-layer", "to-layer", "to-port")
        )
        if source not in elements or target not in elements:
            raise CheckpointError(
                f"an edge from {source} to {target} joins layers that are not there"
            )
        if port in sources[target]:
            raise CheckpointError(f"two edges end at port {port} of layer {target}")
        sources[target][port] = source
    return {
        number: tuple(ports[port] for port in sorted(ports)) for number, ports in sources.items()
    }


def _read_constant(
    name: str, data: ElementTree.Element | None, weights: bytes | memoryview
) -> tuple[np.ndarray, tuple[int, int]]:
    """A constant's array, and where its bytes start and end."""
    name = name[:80]
    if data is None:
        raise CheckpointError(f"the constant {name!r} has no data")
    if (type_name := data.get("element_type", "")) not in _ELEMENT_TYPES:
        raise CheckpointError(
            f"the constant {name!r}: expected numbers of type {', '.join(_ELEMENT_TYPES)},"
            f" got {type_name[:40]!r}"
        )
    dtype = np.dtype(_ELEMENT_TYPES[type_name])
    parts = [part.strip() for part in data.get("shape", "").split(",") if part.strip()]
    if len(parts) > MAX_DIMENSIONS or not all(_is_integer(part) for part in parts):
        raise CheckpointError(f"the constant {name!r} has a damaged shape")
    shape = tuple(map(int, parts))
    start, size = _integer(data, "offset"), _integer(data, "size")
    if math.prod(shape) * dtype.itemsize != size:
        raise CheckpointError(
            f"the constant {name!r} of shape {shape} and {dtype.name} does not have {size} bytes"
        )
    if start + size > len(weights):
        raise CheckpointError(
            f"the constant {name!r} of {size} bytes at {start} runs past the end of the .bin of"
            f" {len(weights)}; is the file incomplete?"
        )
    return np.ndarray(shape, dtype, memoryview(weights).toreadonly(), start), (start, start + size)


def _check_spans(spans: Mapping[tuple[int, int], str], size: int) -> None:
    """Require that the constants lie end to end, so that the two files belong together."""
    ordered = [(0, 0), *sorted(span for span in spans if span[0] < span[1]), (size, size)]
    for (_, end), (start, last) in itertools.pairwise(ordered):
        if start < end:
            raise CheckpointError(
                f"the constant {spans[start, last][:80]!r} overlaps another in the .bin"
            )
        if start > end:
            raise CheckpointError(
                f"{start - end} bytes of the .bin at {end} belong to no constant;"
                " do the two files belong together?"
            )


def _integer(element: ElementTree.Element, key: str) -> int:
    text = element.get(key, "")
    if not _is_integer(text):
        raise CheckpointError(f"expected a number for {key} of <{element.tag}>, got {text[:40]!r}")
    return int(text)


def _is_integer(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
