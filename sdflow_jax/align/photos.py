"""Photos in a folder, a zip or a tar, one after the other; nothing is unpacked to the disk."""

import contextlib
import dataclasses
import os
import pathlib
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from sdflow_jax.align.geometry import AlignError
from sdflow_jax.images.listing import LinkLoopError, files_below, passed_over
from sdflow_jax.images.reading import openable_suffixes

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without it opens no such archive

    class LZMAError(Exception):
        """Never raised."""


_LINKED = "a link to another entry; unpack the archive, and give the folder"
MAX_BYTES = 512 * 2**20  # larger files are no photos, whatever they say of themselves

# What an archive's reader raises for an entry that is damaged, encrypted or packed in a strange way.
_ENTRY_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
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
      refused: names of an archive's entries that are not read -> why.
      notes: what else is to be told, in lines.
    """

    name: str
    photos: tuple[Photo, ...]
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def open_photos(path: str | os.PathLike[str]) -> Iterator[PhotoSource]:
    """The photos of a folder (and the folders in it and those that links in it name), a zip or a tar,
    packed in any way that Python reads: the files that are not hidden and end as pictures do that can
    be opened (`images.reading.openable_suffixes`). Others are counted in a note.

    Photos may be read, in their order or another, until the context ends, by one thread at a time.

    Raises:
      AlignError: if there is no such folder or file, it is no archive, holds no photo, or a link in it
        leads back to a folder that it lies in.
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
                about = "".join(f"; {note}" for note in source.notes)
                raise AlignError(f"{path}: no picture that can be opened in it{about}")
            yield source
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise AlignError(f"{path}: the archive is damaged ({error})") from error


def _folder(path: pathlib.Path) -> PhotoSource:
    try:
        files = {file.relative_to(path).as_posix(): file for file in files_below(path)}
    except LinkLoopError as error:
        raise AlignError(str(error)) from error
    photos = []
    for name in filter(_is_photo, files):
        file, size, stamp = files[name], 0, "none"
        with contextlib.suppress(OSError):  # which reading it will tell, e.g. of a link to nowhere
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                continue
            size, stamp = status.st_size, f"{status.st_size}-{status.st_mtime_ns}"
        photos.append(Photo(name, stamp, _reader(file.open, "rb", size=size)))
    return PhotoSource(path.resolve().name, tuple(photos), notes=_passed_over(files))


def _zip(path: pathlib.Path, archive: zipfile.ZipFile) -> PhotoSource:
    entries = {
        _plain(x.filename): x for x in archive.infolist() if not x.filename.endswith(("/", "\\"))
    }
    names = sorted(filter(_is_photo, entries))
    refused = _refused(names)
    photos = []
    for name in names:
        if name not in refused:
            entry = entries[name]
            stamp = f"{entry.file_size}-{entry.CRC:08x}"
            photos.append(Photo(name, stamp, _reader(archive.open, entry, size=entry.file_size)))
    return PhotoSource(path.name, tuple(photos), refused, _passed_over(entries))


def _tar(path: pathlib.Path, archive: tarfile.TarFile) -> PhotoSource:
    entries, links, others, notes = {}, set(), [], ()
    try:
        for entry in archive:
            name = _plain(entry.name)
            if entry.isfile() and _is_photo(name):
                # In its own order: a packed tar can only be read forwards.
                entries.pop(name, None)
                links.discard(name)
                entries[name] = entry
            elif (entry.islnk() or entry.issym()) and _is_photo(name):
                entries.pop(name, None)
                links.add(name)
            elif entry.isfile():
                others.append(name)
    except (tarfile.TarError, EOFError, OSError, zlib.error, LZMAError) as error:
        notes = (f"{path} is cut short or damaged after {len(entries)} photos ({error})",)
    # What a link leads to may lie before it, and a packed tar can only be read forwards.
    refused = dict.fromkeys(links, _LINKED) | _refused([*entries, *links])
    photos = [
        Photo(
            name,
            f"{entry.size}-{entry.mtime}",
            _reader(archive.extractfile, entry, size=entry.size),
        )
        for name, entry in entries.items()
        if name not in refused
    ]
    return PhotoSource(path.name, tuple(photos), refused, (*notes, *_passed_over(others)))


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
    """An entry's name without "./" before it and doubled "/", whichever slash its archiver wrote."""
    return pathlib.PurePosixPath(name.replace("\\", "/")).as_posix()


def _is_hidden(name: str) -> bool:
    parts = pathlib.PurePosixPath(name).parts
    return "__MACOSX" in parts or any(part[0] == "." and part not in (".", "..") for part in parts)


def _is_photo(name: str) -> bool:
    return pathlib.PurePosixPath(name).suffix.lower() in openable_suffixes() and not _is_hidden(
        name
    )


def _passed_over(names: Iterable[str]) -> tuple[str, ...]:
    """A line that counts the files that are no photos by their names, by kind; none for none."""
    return passed_over(x for x in names if not _is_photo(x) and not _is_hidden(x))


def _refused(names: Iterable[str]) -> dict[str, str]:
    return {name: reason for name in names if (reason := _danger_of(name))}


def _danger_of(name: str) -> str:
    """Why no file of this name may be made under a folder; empty if one may.

    Names are kept as they are: colons, wide spaces and joined emoji are in those of screenshots.
    """
    parts = name.split("/")
    if parts[0] == "" or ".." in parts or re.match("[A-Za-z]:/", name):
        return "the name leads out of the archive"
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "the name holds control characters"
    return ""
