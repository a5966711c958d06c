"""MobileStyleGAN against recorded outputs of OpenVINO, and small graphs against plain NumPy."""

import hashlib
import importlib.util
import json
import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from converters import ir_files, mobile_stylegan
from converters.__main__ import convert_network, main
from converters.errors import CheckpointError
from reliability.ir_writer import write_files, write_wheel
from sdflow_jax.files import networks
from tests.converters.ir_interpreter import interpret
from tests.filled_networks import filled_arrays

GOLDEN = pathlib.Path(__file__).parents[1] / "golden/mobile_stylegan"

# The package `random-face` (wheel or folder), or a network file made from it.
SOURCE_VARIABLE = "SDFLOW_JAX_RANDOM_FACE"

TINY = {
    "resolution": 32,
    "style_dim": 6,
    "channels": {"4": 12, "8": 8, "16": 5},
    "num_mapping_layers": 3,
}


@pytest.fixture(scope="module")
def flat():
    arrays = filled_arrays("MobileStyleGAN", TINY)
    rng = np.random.default_rng(5)
    for i in range(TINY["num_mapping_layers"]):  # stored divided by their learning rate of 0.01
        arrays[f"mapping/{i}/kernel"] = 100 * rng.standard_normal((6, 6)).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def folder(flat, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ir") / "data"
    return write_files(folder, mobile_stylegan.restore(TINY, flat))


def test_converted_network_computes_what_the_graphs_do(folder, tmp_path):
    path = convert_network(folder, tmp_path, report=lambda _: None)
    network = networks.load_network(path, expected="MobileStyleGAN")
    z = np.random.default_rng(0).standard_normal((1, 6)).astype(np.float32)
    w = interpret(folder / "MappingNetwork.xml", z)
    # Both sides are float32 and differ in the order of their sums.
    np.testing.assert_allclose(network.map(jnp.asarray(z)), w, rtol=0, atol=1e-5)
    image = interpret(folder / "SynthesisNetwork.xml", w)
    found = network.synthesize(network.broadcast(jnp.asarray(w)))
    scale = np.abs(image).max()
    assert image.std() > 0.1 * scale  # a picture of one color would hide an exchange of pixels
    np.testing.assert_allclose(found[0], image[0].transpose(1, 2, 0), rtol=0, atol=1e-5 * scale)


def test_conversion_undoes_restoration(flat, folder):
    name, arguments, found = mobile_stylegan.convert(ir_files.read_networks(folder))
    assert (name, arguments) == ("MobileStyleGAN", TINY)
    assert found.keys() == flat.keys()
    for path in flat.keys() - {"w_average"}:
        # Taking a gain out and putting it back rounds twice.
        exact = not path.startswith("mapping/")
        np.testing.assert_allclose(found[path], flat[path], rtol=0 if exact else 3e-7, err_msg=path)


def test_average_style_is_that_of_the_mapping_network(folder, tmp_path):
    path = convert_network(folder, tmp_path, report=lambda _: None)
    network = networks.load_network(path)
    z = np.random.default_rng(1).standard_normal((20_000, 6)).astype(np.float32)
    w = np.asarray(network.map(jnp.asarray(z)))
    error = 5 * w.std(axis=0) * np.sqrt(1 / 20_000 + 1 / 10_000)
    assert (np.abs(network.w_average[...] - w.mean(axis=0)) < error).all()


@pytest.mark.parametrize("form", ["wheel", "data", "package", "unpacked", "mapping", "synthesis"])
def test_every_form_of_the_package_gives_the_same_network(form, flat, folder, tmp_path):
    parameters = mobile_stylegan.restore(TINY, flat)
    paths = {
        "wheel": lambda: write_wheel(tmp_path / "random_face-1-py3-none-any.whl", parameters),
        "data": lambda: folder,
        "package": lambda: folder.parent,
        "unpacked": lambda: write_files(tmp_path / "x/random_face/data", parameters).parents[1],
        "mapping": lambda: folder / "MappingNetwork.xml",
        "synthesis": lambda: folder / "SynthesisNetwork.xml",
    }
    found = mobile_stylegan.convert(ir_files.read_networks(paths[form]()))[2]
    expected = mobile_stylegan.convert(ir_files.read_networks(folder))[2]
    for path in expected:
        np.testing.assert_array_equal(found[path], expected[path], err_msg=path)


def test_network_file_tells_terms_credits_and_digests(folder, tmp_path):
    metadata = networks.read_metadata(convert_network(folder, tmp_path, report=lambda _: None))
    assert metadata["terms"].startswith("for non-commercial research and evaluation")
    assert all(word in metadata["terms"] for word in ("License-NC", "CC BY-NC-SA 4.0"))
    assert all(name in metadata["credits"] for name in ("Belousov", "Karras"))
    for file in folder.iterdir():
        assert metadata[f"sha256 of {file.name}"] == (hashlib.sha256(file.read_bytes()).hexdigest())


def change(folder: pathlib.Path, out: pathlib.Path, name: str, old: str, new: str) -> pathlib.Path:
    """A copy of the four files, with one text replaced in an XML."""
    out.mkdir()
    for file in folder.iterdir():
        content = file.read_bytes()
        if file.name == f"{name}.xml":
            assert old.encode() in content
            content = content.replace(old.encode(), new.encode())
        (out / file.name).write_bytes(content)
    return out


@pytest.mark.parametrize(
    ("network", "old", "new", "message"),
    [
        ("SynthesisNetwork", "m.input.input", "x", r"expected a constant 'm\.input\.input'"),
        ("SynthesisNetwork", "m.layers.0.conv1.bias", "x", r"the block 'layers\.0'"),
        ("SynthesisNetwork", "m.layers.1.conv2.bias", "x", r"'m\.layers\.1\.conv2\.bias'"),
        ("SynthesisNetwork", 'type="GroupConvolution"', 'type="Convolution"', "GroupConvolution"),
        (
            "SynthesisNetwork",
            'transpose_b="true"',
            'transpose_b="false"',
            "transpose_b=true of the MatMul",
        ),
        (
            "MappingNetwork",
            'transpose_b="true"',
            'transpose_b="false"',
            "transpose_b=true of the MatMul",
        ),
        ("SynthesisNetwork", 'strides="1, 1"', 'strides="2, 2"', "strides=1,1 of the"),
        ("SynthesisNetwork", 'pads_end="1, 1"', 'pads_end="0, 0"', "pads_end=1,1 of the"),
        ("MappingNetwork", 'type="PReLU"', 'type="Add"', "operation PReLU"),
        ("MappingNetwork", 'type="Result"', 'type="Sink"', "one result, found 0"),
    ],
)
def test_another_graph_is_refused(network, old, new, message, folder, tmp_path, capsys):
    changed = change(folder, tmp_path / "changed", network, old, new)
    assert main([str(changed), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert network in error and str(changed) in error
    with pytest.raises(CheckpointError, match=message):
        mobile_stylegan.convert(ir_files.read_networks(changed))


def test_a_graph_that_computes_with_other_numbers_is_refused(flat, tmp_path):
    for network, value, other in (("MappingNetwork", 0.2, 0.1), ("SynthesisNetwork", 0.2, 0.3)):
        folder = write_files(tmp_path / network, mobile_stylegan.restore(TINY, flat))
        weights = (folder / f"{network}.bin").read_bytes()
        raw = np.float32(value).tobytes()
        assert weights.count(raw) == 1
        (folder / f"{network}.bin").write_bytes(weights.replace(raw, np.float32(other).tobytes()))
        with pytest.raises(CheckpointError, match=f"{network}: the constant .* is no parameter"):
            mobile_stylegan.convert(ir_files.read_networks(folder))


def test_a_circle_is_refused(folder, tmp_path):
    xml = (folder / "MappingNetwork.xml").read_text()
    first = xml.index('type="MatMul"')
    number = xml[:first].rpartition('layer id="')[2].partition('"')[0]
    last = xml[: xml.index('type="Result"')].rpartition('layer id="')[2].partition('"')[0]
    source = xml.partition(f'to-layer="{last}" to-port="0"')[0].rpartition('from-layer="')[2]
    edge = xml.partition(f' to-layer="{number}" to-port="0"/>')[0].rpartition("<edge ")[2]
    end = source.partition('"')[0]
    circle = f'from-layer="{end}" from-port="2"'
    target = f' to-layer="{number}" to-port="0"/>'
    changed = change(folder, tmp_path / "changed", "MappingNetwork", edge + target, circle + target)
    with pytest.raises(CheckpointError, match="at most 64 layers"):
        mobile_stylegan.convert(ir_files.read_networks(changed))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The published network, where the package is at hand: it is too large for this repository."""
    package = importlib.util.find_spec("random_face")
    source = os.environ.get(SOURCE_VARIABLE) or (package and pathlib.Path(package.origin).parent)
    if not source:
        pytest.skip(f"needs the package random-face, installed or as {SOURCE_VARIABLE}")
    path = pathlib.Path(source)
    if path.suffix != ".safetensors":
        path = convert_network(path, tmp_path_factory.mktemp("net"), report=lambda _: None)
    return path


def test_published_network_gives_the_recorded_styles_and_images(published):
    description = json.loads((GOLDEN / "random_face.json").read_text())
    metadata = networks.read_metadata(published)
    for name, digest in description["sha256"].items():
        assert metadata[f"sha256 of {name}"] == digest
    network = networks.load_network(published)
    with np.load(GOLDEN / "random_face.npz") as arrays:
        recorded = dict(arrays)
    for seed in description["seeds"]:
        z = np.random.default_rng(seed).standard_normal((1, 512)).astype(np.float32)
        w = network.map(jnp.asarray(z))
        # Sums in another order: 4e-6 and 1.3e-4 at most, over whole images, where this was written.
        np.testing.assert_allclose(w[0], recorded[f"w_{seed}"], rtol=0, atol=2e-5)
        image = np.asarray(network.synthesize(network.broadcast(w)))[0]
        found = {
            "crop": image[480:544, 480:544],
            "grid": image[16::32, 16::32],
            "mean": image.astype(np.float64).mean((0, 1)),
            "std": image.astype(np.float64).std((0, 1)),
        }
        for name, tolerance in {"crop": 4e-4, "grid": 4e-4, "mean": 1e-5, "std": 1e-5}.items():
            np.testing.assert_allclose(
                found[name], recorded[f"{name}_{seed}"], rtol=0, atol=tolerance, err_msg=name
            )
