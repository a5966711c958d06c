"""Writes checkpoint files as PyTorch does: plain data and numpy arrays only."""

import pathlib
import struct
import zipfile
from typing import Any

import ml_dtypes
import numpy as np

_STORAGES = {
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
    np.dtype(np.bool_): "BoolStorage",
}


def text(value: str) -> bytes:
    """The pickle of a text, without a final stop."""
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def integer(value: int) -> bytes:
    """The pickle of an integer of at most 127 bytes."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module: str, attribute: str) -> bytes:
    """The pickle of a name that the reader would have to import."""
    return f"c{module}\n{attribute}\n".encode()


def tensor(
    key: str,
    count: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *,
    offset: int = 0,
    storage: str = "FloatStorage",
) -> bytes:
    """The pickle of a tensor on storage `key`, whatever that storage holds."""
    identity = b"(" + text("storage") + name("torch", storage) + text(key) + text("cpu")
    identity += integer(count) + b"tQ"
    sizes = b"(" + b"".join(map(integer, shape)) + b"t"
    steps = b"(" + b"".join(map(integer, strides)) + b"t"
    arguments = b"(" + identity + integer(offset) + sizes + steps + b"\x89"
    arguments += name("collections", "OrderedDict") + b")R" + b"t"
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def value(item: Any, storages: list[np.ndarray]) -> bytes:
    """The pickle of plain data; arrays are appended to `storages`."""
    if item is None:
        return b"N"
    if isinstance(item, bool):
        return b"\x88" if item else b"\x89"
    if isinstance(item, int):
        return integer(item)
    if isinstance(item, float):
        return b"G" + struct.pack(">d", item)
    if isinstance(item, str):
        return text(item)
    if isinstance(item, dict):
        pairs = (value(part, storages) for pair in item.items() for part in pair)
        return b"}(" + b"".join(pairs) + b"u"
    if isinstance(item, (list, tuple)):
        parts = b"".join(value(part, storages) for part in item)
        return b"(" + parts + (b"l" if isinstance(item, list) else b"t")
    array = np.ascontiguousarray(item).reshape(np.shape(item))
    storages.append(array)
    strides = tuple(step // array.itemsize for step in array.strides)
    key = str(len(storages) - 1)
    return tensor(key, array.size, array.shape, strides, storage=_STORAGES[array.dtype])


def pack(
    path: pathlib.Path,
    pickled: bytes,
    storages: dict[str, bytes] | None = None,
    *,
    compression: int = zipfile.ZIP_STORED,
) -> pathlib.Path:
    """A zip checkpoint of a given pickle (without protocol and stop) and storages."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".")
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", "3\n")
    return path


def write_checkpoint(path: pathlib.Path, tree: Any) -> pathlib.Path:
    """A zip checkpoint that holds `tree`."""
    storages: list[np.ndarray] = []
    pickled = value(tree, storages)
    return pack(path, pickled, {str(i): array.tobytes() for i, array in enumerate(storages)})
