import numpy as np
import pytest

from converters.__main__ import convert_network, main
from converters.errors import CheckpointError
from converters.kinds import KINDS, load_kind, recognise
from converters.torch_reader import read_checkpoint
from sdflow_jax import networks
from sdflow_jax.baselines.interfacegan import load_boundary
from tests.converters.checkpoint_writer import write_checkpoint

# For each kind a network and arguments that make it small.
NETWORKS = {
    "stylegan2": (
        "Generator",
        {
            "resolution": 16,
            "style_dim": 8,
            "channels": {"4": 6, "8": 5, "16": 4},
            "num_mapping_layers": 2,
            "mapping_lr_multiplier": 0.01,
        },
    ),
    "e4e": (
        "InversionEncoder",
        {
            "image_size": 64,
            "num_styles": 10,
            "style_dim": 8,
            "widths": [4, 4, 6, 8, 10],
            "units": [1, 1, 1, 1],
            "head_width": 8,
            "offset_scale": 1.0,
        },
    ),
    "resnet": (
        "SemanticEncoder",
        {"num_attributes": 3, "depth": 18, "width": 4, "stem_pool": True, "hidden_sizes": []},
    ),
    "arcface": (
        "IdentityEncoder",
        {
            "image_size": 32,
            "embedding_dim": 8,
            "widths": [4, 4, 6, 8, 10],
            "units": [1, 1, 1, 1],
            "squeeze_excitation": True,
        },
    ),
    "flow": (
        "ConditionalFlow",
        {"dim": 6, "num_conditions": 3, "hidden_sizes": [48, 48], "num_blocks": 1},
    ),
    "latent_transformer": ("LatentTransformer", {"num_styles": 4, "style_dim": 6}),
}


def random_arrays(network: str, arguments: dict) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = networks.expected_shapes(network, arguments)
    return {path: rng.random(shape, np.float32) for path, shape in shapes.items()}


def write_network(path, kind: str) -> dict[str, np.ndarray]:
    """A checkpoint of the kind's small network with random weights; returns our arrays."""
    network, arguments = NETWORKS[kind]
    arrays = random_arrays(network, arguments)
    write_checkpoint(path, load_kind(kind).restore(arguments, arrays))
    return arrays


def test_every_kind_is_covered():
    assert set(NETWORKS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_kind_is_recognised_and_nothing_changes_on_the_way(kind, tmp_path, capsys):
    expected = write_network(tmp_path / "checkpoint.pt", kind)
    assert recognise(read_checkpoint(tmp_path / "checkpoint.pt")) == kind
    assert main([str(tmp_path / "checkpoint.pt"), "--out", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out").iterdir()  # and no partial or unverified file beside it
    loaded = networks.flatten(networks.load_network(file, expected=NETWORKS[kind][0]))
    assert loaded.keys() == expected.keys()
    for path, array in loaded.items():
        # e4e's heads have their run-time weight factor multiplied in, which rounds twice
        np.testing.assert_allclose(array, expected[path], rtol=0 if kind != "e4e" else 3e-7)
    printed = capsys.readouterr().out
    assert all(path in printed for path in expected)
    assert f"digest sha256:{networks.read_metadata(file)['digest']}" in printed


def test_half_precision_halves_the_file(tmp_path):
    write_network(tmp_path / "c.pt", "flow")
    full = convert_network(tmp_path / "c.pt", tmp_path, name="full", report=lambda _: None)
    half = convert_network(
        tmp_path / "c.pt", tmp_path, name="half", dtype="float16", report=lambda _: None
    )
    assert half.stat().st_size < 0.75 * full.stat().st_size


def test_wrong_kind_is_refused_with_the_keys_that_miss(tmp_path, capsys):
    write_network(tmp_path / "c.pt", "flow")
    assert main([str(tmp_path / "c.pt"), "--out", str(tmp_path / "out"), "--kind", "e4e"]) == 1
    assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_unknown_keys_are_named(tmp_path, capsys):
    write_checkpoint(tmp_path / "c.pt", {"mystery.weight": np.ones(3, np.float32)})
    assert main([str(tmp_path / "c.pt"), "--out", str(tmp_path / "out")]) == 1
    assert "mystery.weight" in capsys.readouterr().err


def test_hostile_content_behind_good_keys_is_an_error(tmp_path):
    path = write_checkpoint(
        tmp_path / "c.pt",
        {
            "g_ema": {
                "input.input": np.ones(3, np.float32),
                "to_rgb1.bias": np.ones(1, np.float32),
            },
            "latent_avg": 7,
        },
    )
    with pytest.raises(CheckpointError, match=r"c\.pt"):
        convert_network(path, tmp_path / "out", report=lambda _: None)


def test_failed_conversion_leaves_the_old_network(tmp_path, monkeypatch):
    write_network(tmp_path / "c.pt", "flow")
    path = convert_network(tmp_path / "c.pt", tmp_path / "out", report=lambda _: None)
    before = path.read_bytes()

    def fail(*_):
        raise CheckpointError("not the same after writing")

    monkeypatch.setattr("converters.__main__.verify", fail)
    with pytest.raises(CheckpointError, match="not the same"):
        convert_network(tmp_path / "c.pt", tmp_path / "out", report=lambda _: None)
    assert path.read_bytes() == before
    assert list((tmp_path / "out").iterdir()) == [path]


def test_verification_finds_a_changed_value(tmp_path):
    from converters.__main__ import verify

    network, arguments = NETWORKS["flow"]
    arrays = random_arrays(network, arguments)
    networks.save_arrays(tmp_path / "n.safetensors", network, arguments, arrays)
    verify(tmp_path / "n.safetensors", network, arguments, arrays)
    with pytest.raises(CheckpointError, match="description"):
        verify(tmp_path / "n.safetensors", network, arguments | {"num_blocks": 2}, arrays)
    next(iter(arrays.values())).flat[0] += 1
    with pytest.raises(CheckpointError, match="not the same"):
        verify(tmp_path / "n.safetensors", network, arguments, arrays)


def test_undefined_weights_are_refused(tmp_path):
    weight, bias = np.full((6, 6), np.nan, np.float32), np.ones(6, np.float32)
    path = write_checkpoint(tmp_path / "c.pt", {"dense.0.weight": weight, "dense.0.bias": bias})
    with pytest.raises(CheckpointError, match="NaN"):
        convert_network(path, tmp_path / "out", report=lambda _: None)


def test_boundary_is_converted(tmp_path, capsys):
    normal = np.array([[0.6, 0.0, 0.8]])
    np.save(tmp_path / "smile.npy", normal)
    assert main([str(tmp_path / "smile.npy"), "--out", str(tmp_path / "out")]) == 0
    boundary = load_boundary(tmp_path / "out/smile.safetensors")
    np.testing.assert_array_equal(boundary.normal, normal[0].astype(np.float32))
    assert boundary.offset == 0
    assert "sha256" in capsys.readouterr().out


@pytest.mark.parametrize(
    "array", [np.ones((1, 3)), np.ones(3), np.ones((1, 3), int), np.array([[{}]], object)]
)
def test_other_arrays_are_no_boundary(tmp_path, array, capsys):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    assert main([str(tmp_path / "x.npy"), "--out", str(tmp_path / "out")]) == 1
    assert "x.npy" in capsys.readouterr().err
