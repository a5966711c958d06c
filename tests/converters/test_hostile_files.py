"""Files made to harm: each must be refused with one error, at once, and nothing may be run."""

import json
import os
import pathlib
import struct
import time
import zipfile

import numpy as np
import pytest

from converters.errors import CheckpointError
from converters.torch_reader import read_checkpoint
from reliability.checkpoint_writer import integer, name, pack, tensor, text

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
MALICIOUS = GOLDEN / "torch_files/malicious"
REASONS = json.loads((MALICIOUS / "expect.json").read_text())["files"]

TIME_LIMIT_S = 3.0  # of processor time; generous, nearly all take milliseconds


@pytest.mark.parametrize("file", sorted(REASONS))
def test_golden_malicious_file_is_refused(file, marker_of_execution):
    with pytest.raises(CheckpointError, match=file):
        read_checkpoint(MALICIOUS / file)
    assert not marker_of_execution.exists()


CALL = text("touch marker") + b"\x85R"  # a tuple of one argument, then the call

PICKLES = {
    "a call": (name("os", "system") + CALL, "os.system"),
    "a call by its Python 2 name": (name("__builtin__", "eval") + CALL, "__builtin__.eval"),
    "a name put together on the stack": (text("posix") + text("system") + b"\x93" + CALL, "posix"),
    "a part of an allowed name": (
        name("torch._utils", "_rebuild_tensor_v2.__globals__"),
        "__globals__",
    ),
    "a name from this package": (name("converters.torch_reader", "os") + CALL, "torch_reader.os"),
    "getattr": (name("builtins", "getattr"), "getattr"),
    "an instance by the old opcode": (b"(" + text("touch marker") + b"ios\nsystem\n", "opcode"),
    "an object by the old opcode": (b"(" + name("os", "system") + b"o", "os.system"),
    "an extension code": (b"\x82\x01", "opcode"),
    "keyword arguments": (name("torch", "Size") + b")}\x92", "opcode"),
    "state given to a constructor": (
        name("collections", "OrderedDict") + b"}" + text("call") + b"Nsb",
        "refused to set the state",
    ),
    "a call of a result": (b")R" * 2, "ends early"),
    "a call of a text": (text("os.system") + b")R", "refused to call"),
    "a call of a dtype": (name("torch", "float32") + b")R", "refused to call"),
    "wrong arguments": (name("torch", "Size") + b")R", "wrong arguments"),
    "an outside reference": (text("http://example.org") + b"Q", "not a tensor's storage"),
    "a tensor of a text": (
        name("torch._utils", "_rebuild_tensor_v2") + b"(" + text("x") + b"K\x00))t" + b"R",
        "tensor out of a str",
    ),
    "a huge memo index": (b"Nr\xff\xff\xff\x7f", None),
    "a claim of many bytes": (b"\x8e" + struct.pack("<Q", 2**62), "ends early"),
    "a claim of a long text": (b"\x8d" + struct.pack("<Q", 2**63), "text of"),
    "a buffer of any size": (b"\x96" + struct.pack("<Q", 2**40), "opcode"),
    "a negative length": (b"T" + struct.pack("<i", -5), "ends early"),
    "a long integer": (b"\x8b" + struct.pack("<i", 1000) + bytes(1000), "integer of 1000 bytes"),
    "an unknown memo index": (b"h\x07", "has not defined"),
    "an unhashable key": (b"}]Ns", "key of type list"),
    "a key that hashes slowly": (b"})Ns", "key of type tuple"),
    "items of a text": (text("x") + b"NNs", "sets items of a str"),
    "values left behind": (b"NN", "leaves values"),
    "a huge object dtype": (name("numpy", "dtype") + text("O8") + b"\x85R", "no number"),
    "an object array": (
        name("numpy._core.multiarray", "_reconstruct") + b")R" + b"(K\x01)NK\x00]tb",
        "numpy array",
    ),
    "an unfinished array": (name("numpy._core.multiarray", "_reconstruct") + b")R", "complete"),
    "a frame longer than the file": (b"\x95" + struct.pack("<Q", 3) + b"N", "frame of 3 bytes"),
    "a frame without end": (b"\x95" + struct.pack("<Q", 2**63) + b"N", "2 are left"),
    "a big protocol": (b"\x80\x09N", "protocol"),
}


@pytest.mark.parametrize("what", sorted(PICKLES))
def test_hostile_pickle_is_refused(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickled, message = PICKLES[what]
    path = pack(tmp_path / "c.pt", pickled)
    start = time.process_time()
    if message is None:  # harmless here: the memo is a dictionary
        assert read_checkpoint(path) is None
    else:
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(path)
    assert time.process_time() - start < TIME_LIMIT_S
    assert os.listdir(tmp_path) == ["c.pt"]


def test_a_frame_up_to_the_end_of_the_file_is_read(tmp_path):
    path = pack(tmp_path / "c.pt", b"\x95" + struct.pack("<Q", 2) + b"N")
    assert read_checkpoint(path) is None


def _many_copies_of_a_list() -> bytes:
    long_list = b"](" + b"K\x01" * 50_000 + b"eq\x00"
    copy = name("builtins", "set") + b"q\x010" + b"h\x01h\x00\x85R0" * 20_000
    return long_list + b"0" + copy + b"N"


@pytest.mark.parametrize(
    ("pickled", "storages", "message"),
    [
        (_many_copies_of_a_list(), {}, "far more than a file of its size"),
        (b"N0" * 1_100_000, {}, "operations"),
        (b"(" * 100_000, {}, "ends early"),
        (b"]" * 100_000, {}, "leaves values"),
        (tensor("0", 1, (2**20, 2**20), (0, 0)), {"0": bytes(4)}, "beyond reason"),
        (tensor("0", 1, (2**61, 2**61), (1, 1)), {"0": bytes(4)}, "its storage holds"),
        (tensor("0", 2**60, (1,), (1,)), {"0": bytes(4)}, "should hold"),
        (tensor("0", 4, (-1,), (1,)), {"0": bytes(16)}, "damaged shape"),
        (tensor("0", 4, (2,), (-1,), offset=1), {"0": bytes(16)}, "damaged shape"),
        (tensor("0", 4, (2,), (1,), offset=-1), {"0": bytes(16)}, "damaged shape"),
        (tensor("0", 4, (1,) * 33, (1,) * 33), {"0": bytes(16)}, "damaged shape"),
        (tensor("../../x", 4, (1,), (1,)), {"0": bytes(16)}, "does not hold"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_absurd_sizes_are_refused_quickly(tmp_path, pickled, storages, message):
    path = pack(tmp_path / "c.pt", pickled, storages)
    start = time.process_time()
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)
    assert time.process_time() - start < TIME_LIMIT_S


def test_compressed_archive_is_refused_without_unpacking_it(tmp_path):
    bomb = {"0": bytes(2**26)}
    path = pack(tmp_path / "c.pt", b"N", bomb, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        read_checkpoint(path)


def test_archive_whose_entries_overlap_is_refused(tmp_path):
    path = pack(tmp_path / "c.pt", b"N", {"0": bytes(1000), "1": bytes(1000)})
    content = bytearray(path.read_bytes())
    first, second = content.find(b"archive/data/0"), content.find(b"archive/data/1")
    content[second : second + 14] = content[first : first + 14]  # the local name, to look plausible
    directory = content.find(b"PK\x01\x02")
    headers = [directory]
    while (at := content.find(b"PK\x01\x02", headers[-1] + 4)) > 0:
        headers.append(at)
    for header in headers[1:3]:
        content[header + 20 : header + 28] = struct.pack("<II", 2200, 2200)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"overlap|past the end|another name"):
        read_checkpoint(path)


def test_archive_that_claims_many_entries_is_refused(tmp_path):
    path = pack(tmp_path / "c.pt", b"N")
    content = bytearray(path.read_bytes())
    end = content.rfind(b"PK\x05\x06")
    content[end + 8 : end + 12] = struct.pack("<HH", 60_000, 60_000)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not fit"):
        read_checkpoint(path)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x02", b"\x00"])
def test_enormous_sparse_file_is_refused_quickly(tmp_path, start):
    path = tmp_path / "c.pt"
    for size in (2**33, 2**42):
        with path.open("wb") as file:
            file.write(start)
            try:
                file.truncate(size)
            except OSError:
                pytest.skip("this file system has no sparse files of this size")
        begin = time.process_time()
        with pytest.raises(CheckpointError):
            read_checkpoint(path)
        assert time.process_time() - begin < TIME_LIMIT_S


def test_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="device"):
        read_checkpoint(tmp_path / "pipe")


def _modules_that_share_modules(levels: int) -> bytes:
    """An NVIDIA pickle with a chain of modules, each used twice by the next."""
    pickled = b"\x80\x02"
    for level in range(levels):
        children = b"}" if level == 0 else b"}(" + text("a") + b"h\x00" + text("b") + b"h\x00u"
        state = b"}" + text("_modules") + children + b"s"
        meta = b"}(" + text("type") + text("class") + text("class_name") + text("Block")
        meta += text("state") + state + b"u"
        make = name("torch_utils.persistence", "_reconstruct_persistent_obj") + meta + b"\x85R"
        pickled += make + b"q\x000"
    return pickled + b"}" + text("G_ema") + b"h\x00s."


def test_modules_that_multiply_are_refused(tmp_path):
    path = tmp_path / "c.pkl"
    path.write_bytes(_modules_that_share_modules(3))
    assert read_checkpoint(path)["G_ema"]["class_name"] == "Block"
    path.write_bytes(_modules_that_share_modules(30))  # 2^29 modules when flattened
    begin = time.process_time()
    with pytest.raises(CheckpointError, match="beyond reason"):
        read_checkpoint(path)
    assert time.process_time() - begin < TIME_LIMIT_S


def test_damaged_storage_is_found_by_its_checksum(tmp_path):
    content = np.arange(100, dtype=np.float32).tobytes()
    path = pack(tmp_path / "c.pt", tensor("0", 100, (100,), (1,)), {"0": content})
    raw = bytearray(path.read_bytes())
    raw[raw.find(content) + 7] ^= 4
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match="checksum"):
        read_checkpoint(path)


def test_integer_keys_and_numbers_survive(tmp_path):
    path = pack(tmp_path / "c.pt", b"}(" + integer(3) + integer(2**70) + text("k") + b"Nu")
    assert read_checkpoint(path) == {3: 2**70, "k": None}
