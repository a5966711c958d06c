"""Photos in a folder, a zip or a tar, one after the other; nothing is unpacked to the disk."""

import contextlib
import dataclasses
import os
import pathlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator

from sdflow_jax.align.geometry import AlignError
from sdflow_jax.images.reading import SUFFIXES

MAX_BYTES = 512 * 2**20  # larger files are no photos, whatever they say of themselves

# What an archive's reader raises for an entry that is damaged, encrypted or packed in a strange way.
_ENTRY_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    tarfile.TarError,
    KeyError,
    ValueError,
)


class PhotoError(ValueError):
    """One photo cannot be read; the message says why, without its name."""


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo of a source.

    Attributes:
      name: its path in the source, with "/" between the parts.
      stamp: other for another content under the same name.
      read: gives its bytes; raises PhotoError if it cannot.
    """

    name: str
    stamp: str
    read: Callable[[], bytes]


@dataclasses.dataclass(frozen=True)
class PhotoSource:
    """All photos of a folder or an archive, in a fixed order.

    Attributes:
      name: of the folder or file.
      photos: in the order of their names, in a tar in its own order.
      refused: names of entries that lead out of the archive; they are not read.
      notes: what else is to be told, in lines.
    """

    name: str
    photos: tuple[Photo, ...]
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def open_photos(path: str | os.PathLike[str]) -> Iterator[PhotoSource]:
    """The photos of a folder (and the folders in it), a zip or a tar, packed in any way that Python
    reads: the PNG, JPEG and WebP files that are not hidden.

    Photos may be read, in their order or another, until the context ends, by one thread at a time.

    Raises:
      AlignError: if there is no such folder or file, it is no archive, or holds no photo.
    """
    path = pathlib.Path(path)
    try:
        with contextlib.ExitStack() as stack:
            if path.is_dir():
                source = _folder(path)
            elif not path.exists():
                raise AlignError(f"{path}: no such folder or file")
            elif zipfile.is_zipfile(path):
                source = _zip(path, stack.enter_context(zipfile.ZipFile(path)))
            elif tarfile.is_tarfile(path):
                source = _tar(path, stack.enter_context(tarfile.open(path)))
            else:
                raise AlignError(f"{path}: expected a folder, a zip or a tar of photos")
            if not source.photos:
                raise AlignError(f"{path}: no PNG, JPEG or WebP file in it")
            yield source
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise AlignError(f"{path}: the archive is damaged ({error})") from error


def _folder(path: pathlib.Path) -> PhotoSource:
    photos = []
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if _is_photo(name) and file.is_file():
            status = file.stat()
            stamp = f"{status.st_size}-{status.st_mtime_ns}"
            photos.append(Photo(name, stamp, _reader(file.open, "rb", size=status.st_size)))
    return PhotoSource(path.resolve().name, tuple(photos))


def _zip(path: pathlib.Path, archive: zipfile.ZipFile) -> PhotoSource:
    entries = {_plain(x.filename): x for x in archive.infolist() if not x.is_dir()}
    names = sorted(filter(_is_photo, entries))
    photos = []
    for name in filter(_stays_inside, names):
        entry = entries[name]
        stamp = f"{entry.file_size}-{entry.CRC:08x}"
        photos.append(Photo(name, stamp, _reader(archive.open, entry, size=entry.file_size)))
    refused = tuple(name for name in names if not _stays_inside(name))
    return PhotoSource(path.name, tuple(photos), refused)


def _tar(path: pathlib.Path, archive: tarfile.TarFile) -> PhotoSource:
    entries, notes = {}, ()
    try:
        for entry in archive:
            name = _plain(entry.name)
            if entry.isfile() and _is_photo(name):
                # In its own order: a packed tar can only be read forwards.
                entries.pop(name, None)
                entries[name] = entry
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        notes = (f"{path} is cut short or damaged after {len(entries)} photos ({error})",)
    photos = [
        Photo(
            name,
            f"{entry.size}-{entry.mtime}",
            _reader(archive.extractfile, entry, size=entry.size),
        )
        for name, entry in entries.items()
        if _stays_inside(name)
    ]
    refused = tuple(name for name in entries if not _stays_inside(name))
    return PhotoSource(path.name, tuple(photos), refused, notes)


def _reader(opener: Callable, *arguments, size: int) -> Callable[[], bytes]:
    def read() -> bytes:
        if size > MAX_BYTES:
            raise PhotoError(f"{size} bytes are no photo")
        try:
            with opener(*arguments) as stream:
                # An archive may announce less than it holds.
                content = stream.read(MAX_BYTES + 1)
        except _ENTRY_ERRORS as error:
            reason = getattr(error, "strerror", None) or error or type(error).__name__
            raise PhotoError(f"cannot be read ({reason})") from error
        if len(content) > MAX_BYTES:
            raise PhotoError(f"more than {MAX_BYTES} bytes are no photo")
        return content

    return read


def _plain(name: str) -> str:
    """An entry's name without "./" before it and doubled "/"."""
    return pathlib.PurePosixPath(name).as_posix()


def _is_photo(name: str) -> bool:
    parts = pathlib.PurePosixPath(name).parts
    is_hidden = any(part[0] == "." and part not in (".", "..") for part in parts)
    return name.lower().endswith(SUFFIXES) and not is_hidden and "__MACOSX" not in parts


def _stays_inside(name: str) -> bool:
    """Whether a file of this name, put under a folder, would be in that folder on any system."""
    parts = name.split("/")
    is_plain = name.isprintable() and not {":", "\\"} & set(name)
    return is_plain and "" not in parts and ".." not in parts
