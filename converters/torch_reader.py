"""Reads PyTorch checkpoints without PyTorch, and without trusting them.

`torch.save` has written two formats: since 1.6 an uncompressed zip archive (`data.pkl` and one
entry per storage), before that a sequence of pickles followed by the storages. NVIDIA's StyleGAN2
files are plain pickles.
"""

import mmap
import os
import pathlib
import zlib
from collections.abc import Callable
from typing import Any

from converters import nvidia_reader
from converters.errors import CheckpointError
from converters.legacy_reader import has_magic_number, read_legacy
from converters.mapped_pages import release
from converters.pickle_machine import PickleMachine
from converters.tensor_builders import CONSTRUCTORS, Storage, check_storage_identity
from converters.zip_directory import Entry, read_directory

Progress = Callable[[int, int], None]

MAX_FILE_BYTES = 16 * 2**30  # ten times the largest checkpoint of the networks here

_CHECKSUM_CHUNK = 16 * 2**20


def read_checkpoint(path: str | os.PathLike[str], *, progress: Progress | None = None) -> Any:
    """Read a `.pt`, `.pth`, `.tar` or NVIDIA `.pkl` file into dictionaries, lists and numpy arrays.

    Arrays are read-only views of the memory-mapped file: pages are read when they are touched.
    Parameters become arrays, `argparse.Namespace` stays one, a network in an NVIDIA pickle becomes
    a dictionary with `class_name`, `init_args`, `init_kwargs` and `state_dict`. Code in the file is
    never imported, called or compiled.

    Args:
      path: the checkpoint.
      progress: called with the bytes checked so far and their total while the checksums of a zip
        are verified.

    Raises:
      CheckpointError: if the file is missing, empty, damaged, of another format, or asks for
        anything but tensors and plain data.
    """
    path = pathlib.Path(path)
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise CheckpointError("expected a file, got a directory or a device")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise CheckpointError("the file is empty; did the download fail?")
            if size > MAX_FILE_BYTES:
                raise CheckpointError(f"expected at most {MAX_FILE_BYTES} bytes, got {size}")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return _read(data, progress)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        raise CheckpointError(
            f"{path}: the file is damaged ({type(error).__name__}: {str(error)[:100]})"
        ) from error


def _read(data: memoryview, progress: Progress | None) -> Any:
    start = bytes(data[:512])
    if start.startswith(b"PK"):
        return _read_zip(data, progress)
    if start.startswith(b"\x80"):
        if has_magic_number(data):
            return read_legacy(data, CONSTRUCTORS)[0]
        return nvidia_reader.read_pickle(data)
    raise CheckpointError(f"expected a PyTorch checkpoint or an NVIDIA pickle, got {_guess(start)}")


def _guess(start: bytes) -> str:
    """What else the file may be, for the error message."""
    if start.lstrip()[:1] == b"<":
        return "a web page; did the download ask for a confirmation?"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer; fetch the file itself with `git lfs pull`"
    if start[257:262] == b"ustar":
        return "a tar archive, PyTorch's format before 0.1.10 or a packed folder; unpack it first"
    if start[:2] == b"\x1f\x8b":
        return "a gzip file; unpack it first"
    if start[8:9] == b"{":
        return "what looks like a safetensors file, which needs no conversion"
    return f"a file that starts with {start[:8]!r}"


def _read_zip(data: memoryview, progress: Progress | None) -> Any:
    entries = read_directory(data)
    pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(
            f"expected one data.pkl in the zip archive, got {len(pickles)}; is it a PyTorch file?"
        )
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in entries:
        raise CheckpointError(
            "this is a TorchScript program (torch.jit.save), which holds code;"
            " save the state_dict() of what torch.jit.load gives with torch.save"
        )
    for entry in entries.values():
        if entry.is_compressed:
            raise CheckpointError(
                f"the zip entry {entry.name[:100]!r} is compressed,"
                " PyTorch stores plain entries; re-pack with `zip -0`"
            )
    byte_order = entries.get(f"{folder}byteorder")
    if byte_order is not None and bytes(_content(data, byte_order)) != b"little":
        raise CheckpointError("the checkpoint was written on a big-endian machine")
    used: dict[str, Entry] = {}

    def load_storage(identity: Any) -> Storage:
        dtype, key, count, view = check_storage_identity(identity)
        entry = entries.get(f"{folder}data/{key}")
        if entry is None or view is not None:
            raise CheckpointError(
                f"the checkpoint refers to storage {key[:100]!r}, which the file does not hold"
            )
        if entry.size < count * dtype.itemsize:
            raise CheckpointError(
                f"storage {key[:100]!r} should hold {count} elements of {dtype},"
                f" the file has {entry.size} bytes"
            )
        used[entry.name] = entry
        return Storage(dtype, count, _content(data, entry))

    # The pickle's own checksum first, so that damage is called damage; the storages last, so that a
    # refused name in a large file is reported at once.
    _check_checksums(data, [entries[pickles[0]]], None)
    pickled = _content(data, entries[pickles[0]])
    machine = PickleMachine(
        pickled, allowed=CONSTRUCTORS, load_storage=load_storage, budget=len(data)
    )
    tree = machine.load()
    _check_checksums(data, list(used.values()), progress)
    return tree


def _content(data: memoryview, entry: Entry) -> memoryview:
    return data[entry.start : entry.start + entry.size]


def _check_checksums(data: memoryview, entries: list[Entry], progress: Progress | None) -> None:
    """Compare the CRC-32 of each entry with the one in the directory."""
    total = sum(entry.size for entry in entries)
    done = 0
    for entry in entries:
        crc32 = 0
        for start in range(entry.start, entry.start + entry.size, _CHECKSUM_CHUNK):
            chunk = data[start : min(start + _CHECKSUM_CHUNK, entry.start + entry.size)]
            crc32 = zlib.crc32(chunk, crc32)
            done += len(chunk)
            release(chunk)
            if progress is not None:
                progress(done, total)
        if crc32 != entry.crc32:
            raise CheckpointError(
                f"the checksum of {entry.name[:100]!r} is wrong; is the download damaged?"
            )
