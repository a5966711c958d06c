"""Where the entries of a zip archive lie, read from its central directory.

The standard library's reader allocates what a directory claims before it looks at the file. This
one checks every size and offset against the file first. PyTorch stores its entries as they are;
those of a Python wheel are compressed, and are unpacked one at a time up to the size they claim.
"""

import dataclasses
import itertools
import struct
import zlib

from converters.errors import CheckpointError

MAX_ENTRIES = 200_000

_END = struct.Struct("<4sHHHHIIH")
_END_64_LOCATOR = struct.Struct("<4sIQI")
_END_64 = struct.Struct("<4sQHHIIQQQQ")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")

_UNKNOWN_32 = 0xFFFFFFFF  # "see the zip64 field"
_STORED = 0
_DEFLATED = 8
_ENCRYPTED_FLAG = 0x1


@dataclasses.dataclass(frozen=True)
class Entry:
    """One file of `size` bytes, which the archive holds as `data[start : start + stored_size]`."""

    name: str
    start: int
    size: int
    crc32: int
    stored_size: int
    is_compressed: bool


def read_directory(data: memoryview) -> dict[str, Entry]:
    """The entries of a zip archive by name.

    Raises:
      CheckpointError: if the directory is missing or inconsistent with the file; if it lists
        encrypted, repeated or overlapping entries.
    """
    count, position, size = _find_directory(data)
    if count > MAX_ENTRIES:
        raise CheckpointError(
            f"expected at most {MAX_ENTRIES} entries in the zip archive, got {count}"
        )
    if position + size > len(data) or count * _CENTRAL.size > size:
        raise CheckpointError(
            "the zip directory does not fit in the file; is the download incomplete?"
        )
    entries: dict[str, Entry] = {}
    end = position + size
    for _ in range(count):
        entry, position = _read_entry(data, position, end)
        if entry.name in entries:
            raise CheckpointError(f"the zip archive lists {entry.name[:100]!r} twice")
        entries[entry.name] = entry
    by_place = sorted(entries.values(), key=lambda entry: (entry.start, entry.stored_size))
    for first, second in itertools.pairwise(by_place):
        if first.start + first.stored_size > second.start:
            raise CheckpointError(
                f"the zip archive's entries {first.name[:100]!r} and {second.name[:100]!r} overlap"
            )
    return entries


def read_entry(data: memoryview, entry: Entry, *, max_size: int) -> bytes:
    """The content of one entry, unpacked if need be, its checksum verified.

    Raises:
      CheckpointError: if the content is larger than `max_size` or not of the size that the
        directory says, or is damaged.
    """
    if entry.size > max_size:
        raise CheckpointError(
            f"expected at most {max_size} bytes in {entry.name[:100]!r}, got {entry.size}"
        )
    content = bytes(data[entry.start : entry.start + entry.stored_size])
    if entry.is_compressed:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = unpacker.decompress(content, entry.size + 1)  # no byte more is ever made
        except zlib.error as error:
            raise CheckpointError(
                f"{entry.name[:100]!r} in the zip archive is damaged ({error})"
            ) from error
    if len(content) != entry.size:
        raise CheckpointError(
            f"{entry.name[:100]!r} in the zip archive is not of the {entry.size} bytes that its"
            " directory says"
        )
    if zlib.crc32(content) != entry.crc32:
        raise CheckpointError(
            f"the checksum of {entry.name[:100]!r} is wrong; is the download damaged?"
        )
    return content


def _find_directory(data: memoryview) -> tuple[int, int, int]:
    """Number of entries, offset and size of the central directory."""
    tail_start = max(0, len(data) - 65535 - _END.size)
    found = bytes(data[tail_start:]).rfind(b"PK\x05\x06")
    if found < 0 or tail_start + found + _END.size > len(data):
        raise CheckpointError(
            "the zip archive has no directory at its end; is the download incomplete?"
        )
    at = tail_start + found
    _, disk, directory_disk, _, count, size, offset, _ = _END.unpack_from(data, at)
    locator_at = at - _END_64_LOCATOR.size
    if locator_at >= 0 and data[locator_at : locator_at + 4] == b"PK\x06\x07":
        _, _, at_64, _ = _END_64_LOCATOR.unpack_from(data, locator_at)
        if at_64 + _END_64.size > len(data) or data[at_64 : at_64 + 4] != b"PK\x06\x06":
            raise CheckpointError(
                "the zip archive's 64-bit directory is not where its end record says"
            )
        _, _, _, _, disk, directory_disk, _, count, size, offset = _END_64.unpack_from(data, at_64)
    if disk or directory_disk:
        raise CheckpointError("the zip archive is one part of several; expected a single file")
    return count, offset, size


def _read_entry(data: memoryview, position: int, end: int) -> tuple[Entry, int]:
    """The entry whose central header is at `position`, and the position of the next header."""
    if position + _CENTRAL.size > end:
        raise CheckpointError("the zip directory ends inside an entry")
    fields = _CENTRAL.unpack_from(data, position)
    (
        signature,
        _,
        _,
        flags,
        method,
        _,
        _,
        crc32,
        stored_size,
        size,
        name_size,
        extra_size,
        comment_size,
    ) = fields[:13]
    local_at = fields[16]
    name_at = position + _CENTRAL.size
    next_position = name_at + name_size + extra_size + comment_size
    if signature != b"PK\x01\x02" or next_position > end:
        raise CheckpointError("the zip directory is damaged")
    name = bytes(data[name_at : name_at + name_size]).decode("utf-8")
    extra = data[name_at + name_size : name_at + name_size + extra_size]
    size, stored_size, local_at = _apply_zip64(extra, size, stored_size, local_at)
    is_compressed = method == _DEFLATED
    if flags & _ENCRYPTED_FLAG or method not in (_STORED, _DEFLATED):
        raise CheckpointError(
            f"the zip entry {name[:100]!r} is encrypted or packed in an unusual way"
        )
    if not is_compressed and size != stored_size:
        raise CheckpointError(f"the zip entry {name[:100]!r} has two sizes but is not compressed")
    start = _local_data_start(data, local_at, name)
    if start + stored_size > len(data):
        raise CheckpointError(
            f"the zip entry {name[:100]!r} of {stored_size} bytes runs past the end of the file"
        )
    return Entry(name, start, size, crc32, stored_size, is_compressed), next_position


def _apply_zip64(
    extra: memoryview, size: int, stored_size: int, local_at: int
) -> tuple[int, int, int]:
    """Replace the fields that are marked unknown by those of the zip64 extra block."""
    values = [size, stored_size, local_at]
    if _UNKNOWN_32 not in values:
        return size, stored_size, local_at
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            at, stop = position + 4, min(position + 4 + length, len(extra))
            for index, value in enumerate(values):
                if value == _UNKNOWN_32 and at + 8 <= stop:
                    (values[index],) = struct.unpack_from("<Q", extra, at)
                    at += 8
            break
        position += 4 + length
    return values[0], values[1], values[2]


def _local_data_start(data: memoryview, local_at: int, name: str) -> int:
    """Where the data behind a local header starts; the header must agree about the name."""
    if local_at + _LOCAL.size > len(data) or data[local_at : local_at + 4] != b"PK\x03\x04":
        raise CheckpointError(
            f"the zip entry {name[:100]!r} has no local header where the directory says"
        )
    *_, name_size, extra_size = _LOCAL.unpack_from(data, local_at)
    name_at = local_at + _LOCAL.size
    if bytes(data[name_at : name_at + name_size]) != name.encode():
        raise CheckpointError(f"the zip entry {name[:100]!r} has another name in its local header")
    return name_at + name_size + extra_size
