import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from sdflow_jax.files import networks
from tests.filled_networks import filled_arrays, filled_network

NAME = "SemanticEncoder"
ARGUMENTS = {"num_attributes": 2, "depth": 18, "width": 4, "hidden_sizes": [8]}


@pytest.fixture
def arrays():
    return filled_arrays(NAME, ARGUMENTS)


def test_file_gives_back_the_arrays(tmp_path, arrays):
    networks.save_arrays(tmp_path / "e.safetensors", NAME, ARGUMENTS, arrays, notes={"a": "ä"})
    found = networks.flatten(networks.load_network(tmp_path / "e.safetensors"))
    assert found.keys() == arrays.keys()
    for key, value in arrays.items():
        np.testing.assert_array_equal(found[key], value)
    assert networks.read_metadata(tmp_path / "e.safetensors")["a"] == "ä"


@pytest.mark.parametrize("notes", [{"step": 5}, {"format": "x"}])
def test_notes_that_could_not_be_read_again_are_refused(tmp_path, arrays, notes):
    with pytest.raises(ValueError, match="notes are texts under names other than format"):
        networks.save_arrays(tmp_path / "e.safetensors", NAME, ARGUMENTS, arrays, notes=notes)
    assert not list(tmp_path.iterdir())


def test_numbers_too_large_for_the_type_of_the_file_are_refused_by_name(tmp_path):
    network = filled_network(NAME, ARGUMENTS)
    statistics = network.backbone.stem_norm.var
    statistics[...] = statistics[...].at[0].set(1e5)
    with pytest.raises(ValueError, match=r"stem_norm/var goes up to 100000, too large for float16"):
        networks.save_network(tmp_path / "e.safetensors", network, ARGUMENTS, dtype=np.float16)
    assert not list(tmp_path.iterdir())
    networks.save_network(tmp_path / "e.safetensors", network, ARGUMENTS)


def test_equal_networks_are_equal_files(tmp_path):
    program = (
        "import sys, numpy as np; from sdflow_jax.files import networks;"
        "networks.save_arrays(sys.argv[1], 'N', {}, {'x': np.ones(3), 'y': np.zeros(1)},"
        " notes={c: c for c in 'abcdefgh'})"
    )
    # One in a process of its own: the order was another in each.
    command = [sys.executable, "-c", program, str(tmp_path / "first")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    arrays, notes = {"x": np.ones(3), "y": np.zeros(1)}, {c: c for c in "hgfedcba"}
    networks.save_arrays(tmp_path / "second", "N", {}, arrays, notes=notes)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_misfits_are_named_and_nothing_is_loaded(arrays):
    module = filled_network(NAME, ARGUMENTS, seed=1)
    before = networks.flatten(module)
    wrong = {**arrays, "output/bias": np.zeros(3, np.float32), "extra": np.zeros(1, np.float32)}
    del wrong["output/kernel"]
    with pytest.raises(networks.NetworkFileError) as error:
        networks.load_arrays(module, wrong, source="some.file")
    for part in ("some.file", "missing output/kernel", "unexpected extra", "(3,), expected (2,)"):
        assert part in str(error.value)
    for key, value in networks.flatten(module).items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere.safetensors", "no such network file"), ("pocket:nothing", "it has .*generator")],
)
def test_missing_file_is_one_clear_error(path, message):
    with pytest.raises(networks.NetworkFileError, match=message):
        networks.load_network(path)


def test_other_file_is_refused(tmp_path):
    (tmp_path / "e.safetensors").write_bytes(b"no network")
    with pytest.raises(networks.NetworkFileError, match="not a readable safetensors file"):
        networks.load_network(tmp_path / "e.safetensors")


def test_packaged_networks_hold_what_their_files_do():
    files = sorted(networks.resolve("pocket:generator").parent.glob("*.safetensors"))
    assert "generator" in [file.stem for file in files]
    for file in files:
        loaded = networks.flatten(networks.load_network(file))
        with safetensors.safe_open(file, "numpy") as stored:
            assert set(loaded) == set(stored.keys())
            for key, array in loaded.items():
                assert np.isfinite(array).all() and array.dtype == np.float32
                np.testing.assert_array_equal(array, stored.get_tensor(key).astype(np.float32))


HOSTILE = {
    "no JSON": ("{", "damaged description"),
    "JSON without end": ("[" * 100_000, "damaged description"),
    "no mapping": ("[1]", "damaged description"),
    "an unknown argument": ('{"widht": 4}', "do not make a ConditionalFlow .*widht"),
    "a size that is none": ('{"dim": "x", "num_conditions": 2}', "do not make a ConditionalFlow"),
    "layers without end": (
        '{"dim": 4, "num_conditions": 2, "num_blocks": 1000000000}',
        "more than 1 weights",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_description_is_refused_by_the_files_name(tmp_path, what):
    arguments, message = HOSTILE[what]
    path = tmp_path / "n.safetensors"
    metadata = {"format": networks.FORMAT, "network": "ConditionalFlow", "arguments": arguments}
    safetensors.numpy.save_file({"a": np.zeros(1, np.float32)}, path, metadata)
    with pytest.raises(networks.NetworkFileError, match=f"n.safetensors.*{message}"):
        networks.load_network(path)
