import pathlib
import subprocess
import sys

import numpy as np
import pytest

import sdflow_jax
from converters.__main__ import convert_network, main
from converters.errors import CheckpointError
from converters.kinds import KINDS, load_kind, recognise
from converters.torch_reader import read_checkpoint
from reliability.checkpoint_writer import write_checkpoint
from sdflow_jax.files import networks
from sdflow_jax.methods.interfacegan.boundary import load_boundary
from tests.full_disk import full_disk
from tests.golden.golden_weights import load_case

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"

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
            "equalized_heads": True,
            "base_code": True,
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
    assert {*NETWORKS, "mobile_stylegan"} == set(KINDS)  # which has files of its own, and a test


@pytest.mark.parametrize("kind", NETWORKS)
def test_kind_is_recognised_and_nothing_changes_on_the_way(kind, tmp_path, capsys):
    expected = write_network(tmp_path / "checkpoint.pt", kind)
    assert recognise(read_checkpoint(tmp_path / "checkpoint.pt")) == kind
    assert main([str(tmp_path / "checkpoint.pt"), "--out", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out").iterdir()  # and no partial or unverified file beside it
    loaded = networks.flatten(networks.load_network(file, expected=NETWORKS[kind][0]))
    assert loaded.keys() == expected.keys()
    for path, array in loaded.items():
        np.testing.assert_array_equal(array, expected[path])
    printed = capsys.readouterr().out
    assert all(path in printed for path in expected)
    assert f"digest sha256:{networks.read_metadata(file)['digest']}" in printed


def test_values_that_half_precision_has_not_are_named(tmp_path):
    network, arguments = NETWORKS["flow"]
    arrays = random_arrays(network, arguments)
    key = next(key for key, array in arrays.items() if array.size > 1)
    arrays[key] = arrays[key] + np.float32(70_000)
    write_checkpoint(tmp_path / "c.pt", load_kind("flow").restore(arguments, arrays))
    with pytest.raises(CheckpointError, match=r"goes up to 7e\+04, too large for float16"):
        convert_network(tmp_path / "c.pt", tmp_path, dtype="float16", report=lambda _: None)
    assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]


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
    error = capsys.readouterr().err
    assert "expected an IR or IR-SE body" in error and "those of --kind flow" in error
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
        convert_network(tmp_path / "c.pt", tmp_path / "out", overwrite=True, report=lambda _: None)
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


def test_existing_network_is_kept_unless_asked(tmp_path, capsys):
    write_network(tmp_path / "c.pt", "latent_transformer")
    command = [str(tmp_path / "c.pt"), "--out", str(tmp_path)]
    path = tmp_path / "latent_transformer.safetensors"
    path.write_bytes(b"precious")
    assert main(command) == 1
    assert capsys.readouterr().err.strip().endswith("choose another --name, or --overwrite it")
    assert path.read_bytes() == b"precious"
    assert main([*command, "--name", "other"]) == 0
    assert main([*command, "--overwrite"]) == 0
    assert path.read_bytes() == (tmp_path / "other.safetensors").read_bytes()


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_output_that_cannot_be_a_directory_is_refused_before_the_work(out, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert main([str(tmp_path / "missing.pt"), "--out", str(tmp_path / out)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: --out") and captured.err.count("\n") == 1
    assert not captured.out


def test_names_with_folders_are_refused(tmp_path):
    with pytest.raises(SystemExit):
        main([str(tmp_path / "c.pt"), "--out", str(tmp_path), "--name", "../escape"])


def test_interruption_leaves_nothing(tmp_path, monkeypatch, capsys):
    write_network(tmp_path / "c.pt", "flow")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("converters.__main__.verify", interrupt)
    assert main([str(tmp_path / "c.pt"), "--out", str(tmp_path / "out")]) == 130
    assert not list((tmp_path / "out").iterdir())
    assert "interrupted" in capsys.readouterr().err


def test_codes_can_be_measured_from_the_average_of_a_generator(tmp_path, capsys):
    write_network(tmp_path / "e4e.pt", "e4e")
    write_network(tmp_path / "g.pt", "stylegan2")
    network, arguments = NETWORKS["stylegan2"]
    arrays = random_arrays(network, arguments)
    out = ["--out", str(tmp_path)]
    assert main([str(tmp_path / "g.pt"), *out]) == 0
    generator = ["--average-of", str(tmp_path / "generator.safetensors")]
    assert main([str(tmp_path / "e4e.pt"), *out, *generator]) == 0
    encoder = networks.load_network(tmp_path / "inversion_encoder.safetensors")
    np.testing.assert_array_equal(
        encoder.latent_average[...], np.tile(arrays["w_average"], (10, 1))
    )
    capsys.readouterr()
    assert main([str(tmp_path / "g.pt"), *out, *generator, "--name", "other"]) == 1
    assert "--average-of is for: e4e or pSp" in capsys.readouterr().err
    wrong = ["--average-of", str(tmp_path / "inversion_encoder.safetensors")]
    assert main([str(tmp_path / "e4e.pt"), *out, *wrong]) == 1
    assert "expected a Generator" in capsys.readouterr().err


def test_an_encoder_without_average_code_takes_that_of_a_generator(tmp_path, capsys):
    network, arguments = NETWORKS["e4e"]
    tree = load_kind("e4e").restore(arguments, random_arrays(network, arguments))
    del tree["latent_avg"]
    write_checkpoint(tmp_path / "e4e.pt", tree)
    write_network(tmp_path / "g.pt", "stylegan2")
    out = ["--out", str(tmp_path)]
    assert main([str(tmp_path / "g.pt"), *out]) == 0
    assert main([str(tmp_path / "e4e.pt"), *out]) == 1
    assert "--average-of" in capsys.readouterr().err
    generator = ["--average-of", str(tmp_path / "generator.safetensors")]
    assert main([str(tmp_path / "e4e.pt"), *out, *generator]) == 0
    path = tmp_path / "inversion_encoder.safetensors"
    encoder = networks.load_network(path)
    average = random_arrays(*NETWORKS["stylegan2"])["w_average"]
    np.testing.assert_array_equal(encoder.latent_average[...], np.tile(average, (10, 1)))
    assert networks.read_metadata(path)["average_of"] == "generator.safetensors"


@pytest.mark.parametrize("noises", ["random", "zero"])
def test_noise_images_can_be_chosen_where_there_are_none(noises, tmp_path, capsys):
    network, arguments = NETWORKS["stylegan2"]
    tree = load_kind("stylegan2").restore(arguments, random_arrays(network, arguments))
    tree["g_ema"] = {k: x for k, x in tree["g_ema"].items() if not k.startswith("noises.")}
    write_checkpoint(tmp_path / "g.pt", tree)
    command = [str(tmp_path / "g.pt"), "--out", str(tmp_path)]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert "--noises=random or --noises=zero" in error and error.count("\n") == 1
    assert main([*command, f"--noises={noises}"]) == 0
    path = tmp_path / "generator.safetensors"
    images = [np.asarray(conv.noise[...]) for conv in networks.load_network(path).convs]
    assert [image.shape[0] for image in images] == [4, 8, 8, 16, 16]
    assert all(np.any(image) == (noises == "random") for image in images)
    assert networks.read_metadata(path)["noises"] == noises


@pytest.mark.parametrize("flag", ["--noises=zero", "--class=1"])
def test_choices_that_do_not_apply_are_refused(flag, tmp_path, capsys):
    write_network(tmp_path / "g.pt", "stylegan2")
    write_network(tmp_path / "flow.pt", "flow")
    for name in ("g", "flow"):
        assert main([str(tmp_path / f"{name}.pt"), "--out", str(tmp_path / "out"), flag]) == 1
        assert flag.partition("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_converted_checkpoint_gives_the_picture_of_the_original_code(tmp_path):
    case = load_case(GOLDEN / "stylegan2" / "g32")
    tree = {"g_ema": case.state_dict, "latent_avg": case.arrays["mean_latent"]}
    write_checkpoint(tmp_path / "stylegan2.pt", tree)
    assert main([str(tmp_path / "stylegan2.pt"), "--out", str(tmp_path)]) == 0
    generator = sdflow_jax.load_network(tmp_path / "generator.safetensors")
    images = np.asarray(generator.synthesize(case.arrays["wplus"])).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(images, case.arrays["wplus.image"], rtol=0, atol=1e-4)


def test_conversion_takes_little_more_memory_than_the_file_has_bytes(tmp_path):
    arguments = NETWORKS["stylegan2"][1] | {"channels": {"4": 1024, "8": 1024, "16": 512}}
    arrays = random_arrays("Generator", arguments)
    write_checkpoint(tmp_path / "large.pt", load_kind("stylegan2").restore(arguments, arrays))
    write_network(tmp_path / "small.pt", "stylegan2")
    program = (
        "import resource, sys; from converters.__main__ import main\n"
        "folder = sys.argv[1]\n"
        "for name in ('small', 'large'):\n"
        "    assert main([f'{folder}/{name}.pt', '--out', folder, '--name', name]) == 0\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    root = pathlib.Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    before, after = (1024 * int(line) for line in run.stdout.splitlines() if line.isdecimal())
    size = (tmp_path / "large.pt").stat().st_size
    assert size > 100e6
    assert after - before < 1.3 * size


@pytest.mark.parametrize("kind", ["flow", "interfacegan"])
def test_a_full_disk_is_one_line_and_leaves_no_file(kind, tmp_path, capsys):
    checkpoint = tmp_path / "c.npy"
    if kind == "flow":
        write_network(checkpoint, kind)
    else:
        np.save(checkpoint, np.eye(1, 512, dtype=np.float32))
    with full_disk(500):
        assert main([str(checkpoint), "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.startswith("error: ")
    assert "File too large" in told and str(tmp_path / "out") in told
    assert not list((tmp_path / "out").iterdir())
