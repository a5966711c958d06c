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
from sdflow_jax.files.atomic import naming, write_text

UNREADABLE, NO_FACE, ALIGNED, TOO_SMALL, REFUSED = (
    "unreadable",
    "no face",
    "aligned",
    "too small",
    "refused",
)


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

    Raises:
      AlignError: if the folder holds faces of other settings, or the file is none of these.
    """

    def __init__(self, folder: pathlib.Path, settings: Mapping[str, Any]):
        self.path = folder / "photos.jsonl"
        self.records: dict[str, PhotoRecord] = {}
        whole = self._read(folder, dict(settings))
        if whole == 0:
            write_text(self.path, json.dumps(dict(settings)) + "\n")
        else:
            os.truncate(self.path, whole)
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

    def _read(self, folder: pathlib.Path, settings: dict[str, Any]) -> int:
        """Read the records; returns the length of the whole lines in bytes."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return 0
        whole = content.rfind(b"\n") + 1
        lines = content[:whole].splitlines()
        if not lines:
            return 0
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
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, AlignError):
                raise
            raise AlignError(
                f"{self.path}: no journal of aligned photos, or damaged; choose another --out"
            ) from error
        return whole


def write_report(
    path: pathlib.Path, records: Iterable[PhotoRecord], refused: Iterable[str] = ()
) -> None:
    """Write a CSV of what became of each photo and face: photo, face, result, file, detail.

    Args:
      path: the file, replaced if it is there.
      records: of the photos.
      refused: names of an archive's entries that were not read.
    """
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(("photo", "face", "result", "file", "detail"))
    for name in refused:
        table.writerow((name, "", REFUSED, "", "the name leads out of the archive"))
    for record in records:
        if record.problem:
            table.writerow((record.photo, "", UNREADABLE, "", record.problem))
        elif not record.faces:
            table.writerow((record.photo, "", NO_FACE, "", ""))
        for face in record.faces:
            result = ALIGNED if face.file else TOO_SMALL
            detail = f"{face.side:.0f} pixels, score {face.score:.2f}"
            table.writerow((record.photo, face.number, result, face.file, detail))
    # File names may be no valid text.
    write_text(path, stream.getvalue().encode("utf-8", "backslashreplace").decode())
