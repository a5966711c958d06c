"""A table of a network's arrays with their digests, and one digest for all."""

import hashlib
import zlib
from collections.abc import Mapping

import numpy as np


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of all arrays in the order of their names,
    in hex.
    """
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name}|{array.dtype.name}|{list(np.shape(arrays[name]))}\n".encode())
        total.update(_raw(array))
    return total.hexdigest()


def table(arrays: Mapping[str, np.ndarray]) -> str:
    """A line for each array: path, shape, dtype, number of parameters, CRC-32 of its bytes."""
    rows = [("array", "shape", "dtype", "parameters", "crc32")]
    for name in sorted(arrays):
        array = arrays[name]
        shape = "x".join(map(str, array.shape)) or "scalar"
        crc32 = zlib.crc32(_raw(np.ascontiguousarray(array)))
        rows.append((name, shape, array.dtype.name, f"{array.size:,}", f"{crc32:08x}"))
    count = sum(array.size for array in arrays.values())
    rows.append((f"{len(arrays)} arrays", "", "", f"{count:,}", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(
            f"{text:{a}{n}}" for text, a, n in zip(row, "<<<><", widths, strict=True)
        ).rstrip()
        for row in rows
    )


def _raw(array: np.ndarray) -> memoryview:
    """The bytes of a contiguous array, whatever its dtype, without a copy."""
    return memoryview(array.reshape(-1).view(np.uint8))
