import argparse
import json
import pathlib
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from converters.arrays_report import digest
from converters.errors import CheckpointError
from converters.torch_reader import read_checkpoint
from reliability.checkpoint_writer import integer, name, pack, tensor, text, write_checkpoint

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
TORCH_FILES = GOLDEN / "torch_files"
CASES = sorted(path.stem for path in TORCH_FILES.glob("*.json"))


def assert_same(found: Any, expected: dict[str, Any], arrays: Any, at: str = "root") -> None:
    """Hold what was read against the structure that PyTorch itself reported for the file."""
    if "tensor" in expected:
        assert isinstance(found, np.ndarray), at
        assert (found.dtype.name, list(found.shape)) == (expected["dtype"], expected["shape"]), at
        stored = found.astype(np.float32) if found.dtype == ml_dtypes.bfloat16 else found
        assert stored.tobytes() == arrays[expected["tensor"]].tobytes(), at
    elif "dict" in expected:
        assert [str(key) for key in found] == [str(key) for key, _ in expected["dict"]], at
        for item, (key, part) in zip(found.values(), expected["dict"], strict=True):
            assert_same(item, part, arrays, f"{at}/{key}")
    elif "namespace" in expected:
        assert isinstance(found, argparse.Namespace), at
        assert vars(found).keys() == expected["namespace"].keys(), at
        for key, part in expected["namespace"].items():
            assert_same(getattr(found, key), part, arrays, f"{at}.{key}")
    elif "value" in expected:
        assert found == expected["value"] and type(found) is type(expected["value"]), at
    else:
        ((kind, parts),) = expected.items()
        assert type(found).__name__ == kind, at
        for index, (item, part) in enumerate(zip(found, parts, strict=True)):
            assert_same(item, part, arrays, f"{at}/{index}")


def test_golden_folder_is_complete():
    assert len(CASES) == 13


@pytest.mark.parametrize("file_format", ["zip", "legacy"])
@pytest.mark.parametrize("case", CASES)
def test_reads_what_pytorch_wrote_bit_for_bit(case, file_format):
    description = json.loads((TORCH_FILES / f"{case}.json").read_text())
    found = read_checkpoint(TORCH_FILES / f"{case}.{file_format}.pth")
    with np.load(TORCH_FILES / description["expected_arrays"]) as arrays:
        assert_same(found, description["structure"], arrays)


def test_nvidia_pickle_gives_the_state_of_each_network():
    description = json.loads((GOLDEN / "nvidia_pkl/tiny32.json").read_text())
    tree = read_checkpoint(GOLDEN / "nvidia_pkl/tiny32.pkl")
    assert tree["G_ema"]["class_name"] == "Generator"
    assert tree["G_ema"]["init_kwargs"]["img_resolution"] == 32
    assert tree["D"]["class_name"] == "Discriminator"
    for network, (count, expected) in description["state_digests"].items():
        assert len(tree[network]["state_dict"]) == count
        assert digest(tree[network]["state_dict"]) == expected


def test_source_in_an_nvidia_pickle_is_not_run(marker_of_execution):
    tree = read_checkpoint(GOLDEN / "nvidia_pkl/hostile_module_src.pkl")
    with np.load(GOLDEN / "nvidia_pkl/hostile_module_src.npz") as arrays:
        expected = {key.removeprefix("state."): arrays[key] for key in arrays.files}
    for network in ("G", "D", "G_ema"):
        assert digest(tree[network]["state_dict"]) == digest(expected)
    assert not marker_of_execution.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_plain_python_and_numpy_values_are_read(tmp_path, protocol):
    tree = {
        "array": np.arange(6.0).reshape(2, 3),
        "transposed": np.arange(6, dtype=np.int32).reshape(2, 3).T,
        "big-endian": np.arange(3, dtype=">f4"),
        "scalar": np.float64(1.5),
        "bytes": b"\x00\xff",
        "large bytes": bytes(5000),
        "set": {1, "two", None},
        "ordered": OrderedDict(a=1, b=[2.5, ()]),
        "options": argparse.Namespace(lr=1e-4, sub=argparse.Namespace(flag=True)),
    }
    pickled = pickle.dumps(tree, protocol)[2:-1]
    found = read_checkpoint(pack(tmp_path / "c.pt", pickled))
    assert list(found) == list(tree)
    for key in ("array", "transposed", "big-endian", "scalar"):
        assert found[key].dtype == tree[key].dtype
        np.testing.assert_array_equal(found[key], tree[key])
    for key in ("bytes", "large bytes", "set", "ordered", "options"):
        assert found[key] == tree[key]


def test_path_becomes_a_text(tmp_path):
    pickled = pickle.dumps(pathlib.PosixPath("a/b"), 2)[2:-1]
    assert read_checkpoint(pack(tmp_path / "c.pt", pickled)) == "a/b"


def test_part_of_a_storage_is_read(tmp_path):
    """Old files describe some storages as a part of another: `(key, offset, count)`."""
    identity = b"(" + text("storage") + name("torch", "FloatStorage") + text("k") + text("cpu")
    identity += integer(6) + b"(" + text("k.1") + integer(2) + integer(3) + b"ttQ"
    header = b"\x80\x02" + integer(0x1950A86A20F9469CFC6C) + b".\x80\x02" + integer(1001) + b"."
    header += b"\x80\x02}" + text("little_endian") + b"\x88s."
    arguments = b"(" + identity + b"K\x00K\x03\x85K\x01\x85\x89Nt"
    content = b"\x80\x02" + name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R."
    storages = b"\x80\x02]" + text("k") + b"a." + struct.pack("<q", 6)
    path = tmp_path / "c.pt"
    path.write_bytes(header + content + storages + np.arange(6, dtype=np.float32).tobytes())
    np.testing.assert_array_equal(read_checkpoint(path), [2, 3, 4])


def test_untyped_storage_takes_the_dtype_of_its_tensor(tmp_path):
    values = np.arange(4, dtype=np.uint16)
    identity = b"(" + text("storage") + name("torch.storage", "UntypedStorage") + text("0")
    identity += text("cpu") + integer(8) + b"tQ"
    arguments = b"(" + identity + b"K\x01K\x03\x85K\x01\x85\x89N" + name("torch", "uint16") + b"t"
    pickled = name("torch._utils", "_rebuild_tensor_v3") + arguments + b"R"
    found = read_checkpoint(pack(tmp_path / "c.pt", pickled, {"0": values.tobytes()}))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, values[1:])


def test_shared_storages_stay_shared():
    tree = read_checkpoint(TORCH_FILES / "shared_storage.zip.pth")
    assert np.shares_memory(tree["whole"], tree["transposed"])


def test_arrays_are_read_only():
    tree = read_checkpoint(TORCH_FILES / "bare_tensor.zip.pth")
    with pytest.raises(ValueError, match="read-only"):
        tree[...] = 0


def test_progress_reaches_the_total(tmp_path):
    path = write_checkpoint(tmp_path / "c.pt", {"a": np.ones(1000, np.float32)})
    seen = []
    read_checkpoint(path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4000, 4000)


def test_zip_of_64_bit_sizes_is_read(tmp_path):
    path = tmp_path / "c.pt"
    content = np.arange(6, dtype=np.float32)
    pickled = b"\x80\x02" + tensor("0", 6, (2, 3), (3, 1)) + b"."
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (("a/data.pkl", pickled), ("a/data/0", content.tobytes())):
            with archive.open(name, "w", force_zip64=True) as entry:
                entry.write(data)
    np.testing.assert_array_equal(read_checkpoint(path), content.reshape(2, 3))


_READ_IN_LITTLE_MEMORY = """
import resource, sys
from converters.torch_reader import read_checkpoint
used = int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 24 * 2**20,) * 2)
tree = read_checkpoint(sys.argv[1])
print(sum(float(array[::4096].sum()) for array in tree.values()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by RLIMIT_DATA")
def test_reading_takes_far_less_memory_than_the_file_has_bytes(tmp_path):
    arrays = {str(i): np.ones(4 * 2**20, np.float32) for i in range(6)}  # 96 MB
    path = write_checkpoint(tmp_path / "large.pt", arrays)
    command = [sys.executable, "-c", _READ_IN_LITTLE_MEMORY, str(path)]
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=60)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == 6 * 1024


def test_missing_file_and_directory_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.pt.*No such file"):
        read_checkpoint(tmp_path / "nowhere.pt")
    with pytest.raises(CheckpointError, match="directory"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "safetensors"),
        (b"\x80\x02}.", "another pickle"),
        (b"PK\x05\x06" + bytes(18), "0; is it a PyTorch file"),
    ],
)
def test_other_files_are_recognised(tmp_path, content, message):
    path = tmp_path / "c.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def test_tensor_may_not_leave_its_storage(tmp_path):
    for shape, strides, offset in [((5,), (1,), 0), ((2, 2), (3, 1), 1), ((1,), (1,), 4)]:
        pickled = tensor("0", 4, shape, strides, offset=offset)
        path = pack(tmp_path / "c.pt", pickled, {"0": bytes(16)})
        with pytest.raises(CheckpointError, match="its storage holds 4"):
            read_checkpoint(path)


def test_torchscript_is_called_what_it_is(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02c__torch__.torch.nn\nModule\n)\x81.")
        archive.writestr("model/constants.pkl", b"\x80\x02).")
        code = "def forward(self):\n  pass\n" * 50
        archive.writestr("model/code/__torch__.py", code, zipfile.ZIP_DEFLATED)  # as PyTorch does
    with pytest.raises(CheckpointError, match=r"model\.pt: this is a TorchScript program"):
        read_checkpoint(tmp_path / "model.pt")
