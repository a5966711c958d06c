"""PyTorch's format before 1.6: five pickles (magic number, protocol, system, content, storage
keys), then the storages.

The content comes before the storages it refers to. It is therefore read twice: first to learn where
it ends and which storages it wants, then to build the arrays.
"""

import struct
from collections.abc import Mapping
from typing import Any

from converters.errors import CheckpointError
from converters.pickle_machine import Constructor, PickleMachine
from converters.tensor_builders import Storage, check_storage_identity

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001

_COUNT = struct.Struct("<q")


def has_magic_number(data: memoryview) -> bool:
    """Whether the first pickle in `data` is PyTorch's magic number."""
    try:
        return PickleMachine(data[:64], allowed={}).load() == MAGIC_NUMBER
    except CheckpointError:
        return False


def read_legacy(data: memoryview, allowed: Mapping[str, Constructor]) -> tuple[Any, int]:
    """The content of a legacy file, and where it ends.

    Raises:
      CheckpointError: if the file is damaged or uses a name that is not `allowed`.
    """
    header = PickleMachine(data, allowed={})
    header.load()  # the magic number
    if (version := header.load()) != PROTOCOL_VERSION:
        raise CheckpointError(
            f"expected version {PROTOCOL_VERSION} of PyTorch's old format, got {str(version)[:20]}"
        )
    system = header.load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError(
            "the checkpoint was written on a big-endian machine, which is not supported"
        )

    wanted: dict[str, Storage] = {}

    def note_storage(identity: Any) -> Storage:
        dtype, key, count, view = check_storage_identity(identity)
        if wanted.setdefault(key, Storage(dtype, count, None)) != Storage(dtype, count, None):
            raise CheckpointError(f"the checkpoint describes storage {key[:40]!r} in two ways")
        return _view(wanted[key], view)

    structure = PickleMachine(data, header.position, allowed=allowed, load_storage=note_storage)
    structure.load()
    found, end = _locate_storages(data, structure.position, wanted)

    def load_storage(identity: Any) -> Storage:
        _, key, _, view = check_storage_identity(identity)
        return _view(found[key], view)

    return PickleMachine(
        data, header.position, allowed=allowed, load_storage=load_storage
    ).load(), end


def _locate_storages(
    data: memoryview, position: int, wanted: Mapping[str, Storage]
) -> tuple[dict[str, Storage], int]:
    """The storages with their bytes, and where the last one ends."""
    listing = PickleMachine(data, position, allowed={})
    keys = listing.load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CheckpointError("the checkpoint's list of storages is damaged")
    if len(set(keys)) != len(keys) or set(keys) != set(wanted):
        raise CheckpointError("the checkpoint's list of storages does not match its content")
    position = listing.position
    found = {}
    for key in keys:
        storage = wanted[key]
        end = position + _COUNT.size + storage.count * storage.dtype.itemsize
        if end > len(data):
            raise CheckpointError(
                f"the file ends inside storage {key[:40]!r}; is the download incomplete?"
            )
        (count,) = _COUNT.unpack_from(data, position)
        if count != storage.count:
            raise CheckpointError(
                f"storage {key[:40]!r} should hold {storage.count} elements, the file has {count}"
            )
        found[key] = Storage(storage.dtype, count, data[position + _COUNT.size : end])
        position = end
    return found, position


def _view(storage: Storage, view: Any) -> Storage:
    """A part of a storage: old files give some storages as `(key, offset, count)` of another."""
    if view is None:
        return storage
    if (
        not isinstance(view, tuple)
        or len(view) != 3
        or not all(type(n) is int and n >= 0 for n in view[1:])
    ):
        raise CheckpointError("the checkpoint describes a part of a storage wrongly")
    _, offset, count = view
    if offset + count > storage.count:
        raise CheckpointError("the checkpoint describes a part beyond the end of a storage")
    size = storage.dtype.itemsize
    data = None if storage.data is None else storage.data[offset * size : (offset + count) * size]
    return Storage(storage.dtype, count, data)
