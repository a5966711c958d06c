"""From photos to a folder of aligned faces, which `config.data.folder` can name.

Beside every face lies a JSON of where it was; `photos.jsonl` knows which photos are done, and
`report.csv` tells what became of each.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import errno
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from sdflow_jax.align.cutting import FFHQ_SIZE, cut_face
from sdflow_jax.align.faces import SMALLEST_SIDE, PhotoFace, find_faces
from sdflow_jax.align.finders import FaceFinder, load_finder
from sdflow_jax.align.geometry import AlignError
from sdflow_jax.align.journal import FaceRecord, Journal, PhotoRecord, write_report
from sdflow_jax.align.photos import Photo, PhotoError, PhotoSource, open_photos
from sdflow_jax.files.atomic import write_json
from sdflow_jax.files.lock import locked
from sdflow_jax.files.pictures import write_png
from sdflow_jax.images.reading import ImageFileError, decode_image

_SUFFIX = ".png"
_TOO_LARGE = "too large for this machine's memory"

# What the disk says of a name that cannot be: one photo's trouble, unlike a full disk.
_NAME_ERRORS = (
    *(errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ),
)


@dataclasses.dataclass(frozen=True)
class AlignSettings:
    """How faces are made of photos.

    Attributes:
      size: side of the faces in pixels.
      smallest: faces whose square has a shorter side, in pixels of their photo, are left out.
      finder: as by `finders.load_finder`.
    """

    size: int = FFHQ_SIZE
    smallest: float = SMALLEST_SIDE
    finder: str = "dlib"


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a folder of aligned faces holds.

    Attributes:
      num_photos: photos of the source.
      num_faces: faces that were aligned.
      num_without: photos without a face.
      num_unreadable: photos that could not be read, and refused names.
      num_small: faces that were too small.
      num_left: faces in the folder whose photos are no longer in the source; not among `num_faces`.
      report: the CSV that lists all of them.
    """

    num_photos: int
    num_faces: int
    num_without: int
    num_unreadable: int
    num_small: int
    num_left: int
    report: pathlib.Path


def align_photos(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    settings: AlignSettings,
    *,
    jobs: int = 1,
    begin: Callable[[PhotoSource, int], None] = lambda source, num_done: None,
    advance: Callable[[int], None] = lambda num_faces: None,
) -> Summary:
    """Align all faces of all photos of a folder or an archive.

    The faces of `a/b.jpg` become `a/b.jpg-1.png`, `a/b.jpg-2.png`, from left to right. A kill
    costs only the photos in work: the next call goes on. Photos that have changed since are done
    again; so are those that could not be read, whose earlier faces stay until then. A face that somebody
    has removed does not come back. Faces of photos that are no longer there are counted and stay.

    Args:
      source: see `photos.open_photos`.
      folder: of the faces; made if need be.
      settings: how.
      jobs: photos in work at a time.
      begin: called once with the photos and how many of them are done already.
      advance: called after each photo with the number of faces so far.

    Raises:
      AlignError: if there are no photos, the face finder is not installed, the folder holds faces
        of another source or of other settings.
      InUseError: if another process works in it.
      OSError: if the faces cannot be written.
    """
    folder = pathlib.Path(folder)
    if folder.exists() and not folder.is_dir():
        raise AlignError(f"--out {folder}: this is a file; name a folder")
    with open_photos(source) as photos:
        place = pathlib.Path(source).resolve()
        if place.is_dir():
            _check_apart(place, photos, folder)
        finder = load_finder(settings.finder)
        with locked(folder, "aligning faces"):
            journal = Journal(
                folder,
                {
                    "source": photos.name,
                    "size": settings.size,
                    "smallest": settings.smallest,
                    "finder": f"{settings.finder} ({finder.version})",
                },
                place,
                {photo.name: photo.stamp for photo in photos.photos},
            )
            report = folder / "report.csv"
            try:
                _align_rest(photos, folder, settings, finder, journal, jobs, begin, advance)
            finally:
                journal.close()
                with contextlib.suppress(OSError):  # what led here is told
                    write_report(
                        report,
                        _of_source(journal, photos),
                        photos.refused,
                        _left(journal, photos, folder),
                    )
            left = sum(len(files) for files in _left(journal, photos, folder).values())
            return _summary(_of_source(journal, photos), photos, left, report)


def _check_apart(place: pathlib.Path, photos: PhotoSource, folder: pathlib.Path) -> None:
    """Whether faces are written where no photos are looked for, behind links as well."""
    parents = {part for x in photos.photos for part in pathlib.PurePosixPath(x.name).parents}
    out = folder.resolve()
    if {(place / part).resolve() for part in parents} & {out, *out.parents}:
        raise AlignError(f"--out {folder} lies in the folder of the photos; choose another")


def _align_rest(
    photos: PhotoSource,
    folder: pathlib.Path,
    settings: AlignSettings,
    finder: FaceFinder,
    journal: Journal,
    jobs: int,
    begin: Callable[[PhotoSource, int], None],
    advance: Callable[[int], None],
) -> None:
    rest = [photo for photo in photos.photos if not _is_done(photo, journal)]
    for photo in photos.photos:
        record = journal.records.get(photo.name)
        if record and record.problem and _is_done(photo, journal):  # it is there again, as it was
            journal.add(dataclasses.replace(record, problem=""))
    begin(photos, len(photos.photos) - len(rest))
    num_faces = sum(len(record.files) for record in _of_source(journal, photos))

    def align(photo: Photo, content: bytes | PhotoError) -> PhotoRecord:
        return _align_photo(photo, content, folder, settings, finder)

    for record in _in_order(rest, align, jobs):
        before = journal.records.get(record.photo)
        if record.problem and before and before.files:
            # Perhaps for this time only, as behind a disk that is not mounted: what was found stands.
            record = dataclasses.replace(before, problem=record.problem)
        gone = set(before.files) - set(record.files) if before else ()
        for name in gone:  # the photo is another than it was
            (folder / name).unlink(missing_ok=True)
            _place_file(folder / name).unlink(missing_ok=True)
        journal.add(record)
        num_faces += len(record.files) - (len(before.files) if before else 0)
        advance(num_faces)


def _in_order(
    photos: Sequence[Photo],
    align: Callable[[Photo, bytes | PhotoError], PhotoRecord],
    jobs: int,
) -> Iterator[PhotoRecord]:
    """The records of the photos in their order, `jobs` photos being in work at a time.

    Threads are enough: dlib, Pillow and scipy let each other work.
    """
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(jobs)
    try:
        for photo in photos:
            try:
                content = photo.read()  # by this thread alone: archives have one position
            except PhotoError as error:
                content = error
            waiting.append(pool.submit(align, photo, content))
            if len(waiting) > jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _is_done(photo: Photo, journal: Journal) -> bool:
    record = journal.records.get(photo.name)
    if record is None or record.stamp != photo.stamp:
        return False
    return not record.problem or bool(record.files)


def _align_photo(
    photo: Photo,
    content: bytes | PhotoError,
    folder: pathlib.Path,
    settings: AlignSettings,
    finder: FaceFinder,
) -> PhotoRecord:
    if isinstance(content, PhotoError):
        return PhotoRecord(photo.name, photo.stamp, problem=str(content))
    try:
        pixels = decode_image(content)
        faces = find_faces(pixels, finder)
    except (ImageFileError, RuntimeError, MemoryError) as error:
        problem = str(error) or _TOO_LARGE
        return PhotoRecord(photo.name, photo.stamp, problem=problem)
    try:
        return PhotoRecord(
            photo.name, photo.stamp, _write_faces(photo, pixels, faces, folder, settings)
        )
    except AlignError as error:
        return PhotoRecord(photo.name, photo.stamp, problem=str(error))
    except MemoryError:
        return PhotoRecord(photo.name, photo.stamp, problem=_TOO_LARGE)
    except OSError as error:
        if error.errno not in _NAME_ERRORS:
            raise
        problem = f"its faces cannot be written under its name ({error.strerror})"
        return PhotoRecord(photo.name, photo.stamp, problem=problem)


def _write_faces(
    photo: Photo,
    pixels: UInt8[np.ndarray, "h w 3"],
    faces: Sequence[PhotoFace],
    folder: pathlib.Path,
    settings: AlignSettings,
) -> tuple[FaceRecord, ...]:
    """Write those that are not too small; returns what became of all."""
    large = [face for face in faces if face.square.side >= settings.smallest]
    # All are cut before one is written: what cannot be cut leaves nothing behind.
    cut = [cut_face(pixels, face.square, settings.size) for face in large]
    names = {face.number: f"{photo.name}-{face.number}{_SUFFIX}" for face in large}
    for face, picture in zip(large, cut, strict=True):
        _write_face(folder / names[face.number], picture, photo.name, face)
    return tuple(
        FaceRecord(face.number, face.square.side, face.score, names.get(face.number, ""))
        for face in faces
    )


def _write_face(
    path: pathlib.Path, pixels: UInt8[np.ndarray, "s s 3"], photo: str, face: PhotoFace
) -> None:
    # The place first: where there is a face, there is its place.
    write_json(_place_file(path), {"photo": photo, **face.to_json()})
    write_png(path, pixels)


def _place_file(face: pathlib.Path) -> pathlib.Path:
    return face.with_name(face.name.removesuffix(_SUFFIX) + ".json")


def _of_source(journal: Journal, photos: PhotoSource) -> list[PhotoRecord]:
    """The records of the photos that there are, in their order."""
    names = (photo.name for photo in photos.photos)
    return [journal.records[name] for name in names if name in journal.records]


def _left(journal: Journal, photos: PhotoSource, folder: pathlib.Path) -> dict[str, list[str]]:
    """Photos that are no longer there -> pictures of their faces that still are."""
    there = {photo.name for photo in photos.photos}
    return {
        name: files
        for name, record in journal.records.items()
        if name not in there and (files := [x for x in record.files if (folder / x).exists()])
    }


def _summary(
    records: Sequence[PhotoRecord], photos: PhotoSource, num_left: int, report: pathlib.Path
) -> Summary:
    num_found = sum(len(record.faces) for record in records)
    num_faces = sum(len(record.files) for record in records)
    return Summary(
        num_photos=len(photos.photos),
        num_faces=num_faces,
        num_without=sum(not record.faces and not record.problem for record in records),
        num_unreadable=sum(bool(record.problem) for record in records) + len(photos.refused),
        num_small=num_found - num_faces,
        num_left=num_left,
        report=report,
    )
