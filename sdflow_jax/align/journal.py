"""What became of each photo, a line each, so that a preparation can go on where it was stopped."""

import csv
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from sdflow_jax.align.geometry import AlignError
from sdflow_jax.files.atomic import naming, write_atomic, write_text

UNREADABLE, NO_FACE, ALIGNED, TOO_SMALL, REFUSED, LEFT = (
    "unreadable",
    "no face",
    "aligned",
    "too small",
    "refused",
    "photo gone",
)

_PLACE = "path"  # in the first line, beside the settings


@dataclasses.dataclass(frozen=True)
class FaceRecord:
    """What became of a face.

    Attributes:
      number: its place in the photo from left to right, from 1.
      side: of its square in pixels of the photo.
      score: how sure the finder was.
      file: its picture, relative to the folder; empty for a face that is too small.
    """

    number: int
    side: float
    score: float
    file: str


@dataclasses.dataclass(frozen=True)
class PhotoRecord:
    """What became of a photo.

    Attributes:
      photo: its name in the source.
      stamp: of its content, as `photos.Photo`.
      faces: those that were found.
      problem: why it could not be read; empty if it could.
    """

    photo: str
    stamp: str
    faces: tuple[FaceRecord, ...] = ()
    problem: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The pictures of its faces."""
        return tuple(face.file for face in self.faces if face.file)


class Journal:
    """The records of a folder, in `photos.jsonl`; a line that a kill has cut is dropped.

    Args:
      folder: of the aligned faces; only one journal may be open in it.
      settings: JSON-able, what decides how the faces look.
      place: the absolute path of the photos.
      stamps: photo -> stamp, of the photos that there are, by which photos that were moved are known.

    Raises:
      AlignError: if the folder holds faces of other settings or other photos, or the file is none of
        these.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        settings: Mapping[str, Any],
        place: pathlib.Path,
        stamps: Mapping[str, str],
    ):
        self.path = folder / "photos.jsonl"
        self.records: dict[str, PhotoRecord] = {}
        whole = self._read(folder, dict(settings), place, stamps)
        header = json.dumps({**settings, _PLACE: str(place)}).encode()
        found, _, rest = whole.partition(b"\n")
        if found == header:
            os.truncate(self.path, len(whole))
        else:  # there is none, of photos that were moved, or of before places were kept
            write_atomic(self.path, lambda stream: stream.write(header + b"\n" + rest))
        self._stream = self.path.open("a", encoding="utf-8")

    def add(self, record: PhotoRecord) -> None:
        """Write a record; it replaces an earlier one of the same photo."""
        with naming(self.path):
            self._stream.write(json.dumps(dataclasses.asdict(record)) + "\n")
            self._stream.flush()
        self.records[record.photo] = record

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _read(
        self,
        folder: pathlib.Path,
        settings: dict[str, Any],
        place: pathlib.Path,
        stamps: Mapping[str, str],
    ) -> bytes:
        """Read the records; returns the whole lines."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return b""
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.splitlines()
        if not lines:
            return b""
        try:
            found = json.loads(lines[0])
            for name, value in settings.items():
                if found[name] != value:
                    raise AlignError(
                        f"{folder} holds faces of {name} {found[name]!r}, and this asks for"
                        f" {value!r}; choose another --out"
                    )
            for line in lines[1:]:
                values = json.loads(line)
                faces = tuple(FaceRecord(**face) for face in values.pop("faces"))
                record = PhotoRecord(**values, faces=faces)
                self.records[record.photo] = record
            before = found.get(_PLACE)
            if before is not None and not self._are_those_of(before, place, stamps):
                raise AlignError(
                    f"{folder} holds faces of the photos in {before}, and this asks for those in"
                    f" {place}; choose another --out"
                )
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, AlignError):
                raise
            raise AlignError(
                f"{self.path}: no journal of aligned photos, or damaged; choose another --out"
            ) from error
        return whole

    def _are_those_of(self, before: str, place: pathlib.Path, stamps: Mapping[str, str]) -> bool:
        """Whether the photos in a place are those of the records, which were at `before`."""
        if before == str(place):
            return True
        if os.path.exists(before):  # perhaps the same by another way
            return os.path.samefile(before, place)
        # They were moved, or are on a disk that was taken out, as two cameras' cards: then photos of
        # the same names have other sizes.
        return not self.records or any(
            _size_in(stamps.get(name, "")) == _size_in(record.stamp)
            for name, record in self.records.items()
        )


def _size_in(stamp: str) -> str:
    """What a stamp begins with; a move to another kind of disk may change the rest."""
    return stamp.partition("-")[0]


def write_report(
    path: pathlib.Path,
    records: Iterable[PhotoRecord],
    refused: Mapping[str, str] | None = None,
    left: Mapping[str, Iterable[str]] | None = None,
) -> None:
    """Write a CSV of what became of each photo and face: photo, face, result, file, detail.

    Args:
      path: the file, replaced if it is there.
      records: of the photos.
      refused: names of an archive's entries that were not read -> why.
      left: photos that are no longer there -> pictures of their faces that still are.
    """
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(("photo", "face", "result", "file", "detail"))
    for name, reason in (refused or {}).items():
        table.writerow((name, "", REFUSED, "", reason))
    for record in records:
        if record.problem:
            table.writerow((record.photo, "", UNREADABLE, "", record.problem))
        elif not record.faces:
            table.writerow((record.photo, "", NO_FACE, "", ""))
        for face in record.faces:
            result = ALIGNED if face.file else TOO_SMALL
            detail = f"{face.side:.0f} pixels, score {face.score:.2f}"
            table.writerow((record.photo, face.number, result, face.file, detail))
    for name, files in (left or {}).items():
        table.writerows((name, "", LEFT, file, "") for file in files)
    # File names may be no valid text.
    write_text(path, stream.getvalue().encode("utf-8", "backslashreplace").decode())
