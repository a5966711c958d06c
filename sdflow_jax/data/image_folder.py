"""Faces from a directory of image files, for instance FFHQ's aligned PNGs."""

import concurrent.futures
import hashlib
import os
import pathlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sdflow_jax.data.file_digests import FileDigests, Stamp, stamp_of
from sdflow_jax.data.findings import Findings
from sdflow_jax.data.image_source import CONTENT, DataError, FaceBatch, check_ranges
from sdflow_jax.data.settings import DataSettings
from sdflow_jax.images.batching import batches_of
from sdflow_jax.images.listing import LinkLoopError, files_below
from sdflow_jax.images.reading import ImageFileError, openable_suffixes, read_image, resize_square


def image_files(directory: str | os.PathLike[str]) -> list[pathlib.Path]:
    """The files below `directory` that end as pictures do which can be opened
    (`images.reading.openable_suffixes`), in the order of their paths.

    Links to folders are followed; hidden files and folders, whose names begin with a dot, are left
    out (`images.listing.files_below`).

    Raises:
      DataError: if the directory does not exist, or naming a link that leads back to a folder that
        it lies in.
    """
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory of images; set config.data.folder")
    try:
        return [
            file for file in files_below(directory) if file.suffix.lower() in openable_suffixes()
        ]
    except LinkLoopError as error:
        raise DataError(str(error)) from error


class ImageFolder:
    """The image files below `directory` in the order of their paths; a face's identifier is its
    place in it.

    Args:
      directory: searched as by `image_files`.
      splits: split name -> (first, last + 1), places in the order of the paths.
      image_size: side in pixels to which larger or smaller images are resampled (bilinear,
        antialiased).
      batch_size: faces per batch that `split` yields.
      num_threads: files decoded at a time.

    Raises:
      DataError: if the directory does not exist, or a split is unknown, overlaps another, or asks for
        more files than there are.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        splits: Mapping[str, tuple[int, int]],
        *,
        image_size: int,
        batch_size: int = 64,
        num_threads: int = 8,
    ):
        self.directory = pathlib.Path(directory)
        self._files = image_files(directory)
        self.splits = {name: (int(first), int(stop)) for name, (first, stop) in splits.items()}
        self.image_size = image_size
        self._batch_size = batch_size
        self._num_threads = num_threads
        self._stamps: dict[pathlib.Path, Stamp] = {}
        self._owners: dict[bytes, tuple[str, pathlib.Path]] = {}
        self._check_splits()

    def _check_splits(self) -> None:
        check_ranges(self.splits)
        end = max((stop for _, stop in self.splits.values()), default=0)
        if end > len(self._files):
            raise DataError(
                f"the splits reach to image {end}, {self.directory} has {len(self._files)};"
                " check config.data.folder and config.data.splits"
            )

    def describe(self, digests: FileDigests) -> dict[str, Any]:
        """JSON-able facts that determine the images.

        Args:
          digests: of the files, which have to be read if they are not known.

        Raises:
          DataError: naming a file that cannot be read, or two files of equal content in two splits.
        """
        content, owners, findings = {}, {}, Findings(self.directory)
        for name, (first, stop) in sorted(self.splits.items()):
            files = self._files[first:stop]
            self._stamps |= {file: stamp_of(file) for file in files}
            found = digests.of(files, num_threads=self._num_threads)
            for file, digest in zip(files, found, strict=True):
                note_picture(owners, digest, name, file, findings)
            content[name] = hashlib.sha256("".join(found).encode()).hexdigest()[:16]
        findings.finish()
        return {
            "kind": "folder",
            "splits": {name: list(limits) for name, limits in sorted(self.splits.items())},
            "image_size": self.image_size,
            # What the files hold, and not what they are called or where they lie.
            CONTENT: content,
        }

    def num_faces(self, split: str) -> int:
        first, stop = self.splits.get(split, (0, 0))
        return stop - first

    def split(self, split: str) -> Iterator[FaceBatch]:
        first, stop = self.splits.get(split, (0, 0))
        with concurrent.futures.ThreadPoolExecutor(self._num_threads) as pool:
            for places in batches_of(np.arange(first, stop, dtype=np.int64), self._batch_size):
                images = list(pool.map(self._read, places))
                for place, image in zip(places, images, strict=True):
                    # Files may differ, in a note or their compression, and show the same.
                    claim_picture(self._owners, _pixel_digest(image), split, self._files[place])
                yield places, np.stack(images)

    def _read(self, place: int) -> UInt8[np.ndarray, "r r 3"]:
        file = self._files[place]
        if file in self._stamps and stamp_of(file) != self._stamps[file]:
            raise DataError(f"{file} has been changed since it was first read; begin again")
        return read_face(file, self.image_size)


def read_face(
    file: pathlib.Path, image_size: int, *, crop: Sequence[int] = ()
) -> UInt8[np.ndarray, "r r 3"]:
    """The picture of an aligned face, at a side of `image_size` pixels.

    Args:
      file: the picture.
      image_size: r.
      crop: (top, left, side) in pixels of the square to cut out of it; nothing takes all of a picture
        that is square.

    Raises:
      DataError: naming the file, if it cannot be read, is not square, or does not reach as far as the
        crop.
    """
    try:
        image = read_image(file)
    except ImageFileError as error:
        raise DataError(str(error)) from error
    height, width = image.shape[:2]
    if crop:
        top, left, side = crop
        if top + side > height or left + side > width:
            raise DataError(
                f"{file}: the crop ({top}, {left}, {side}) goes beyond its {width} x {height} pixels"
            )
        image = np.ascontiguousarray(image[top : top + side, left : left + side])
    elif width != height:
        raise DataError(f"{file}: expected a square aligned face, got {width} x {height} pixels")
    return resize_square(image, image_size)


def claim_picture(owners: dict, digest: Hashable, split: str, file: pathlib.Path) -> None:
    """Note that a split has a picture.

    Raises:
      DataError: if another split has an equal one: a face that was trained on would be tested.
    """
    owner, other = owners.setdefault(digest, (split, file))
    if owner != split:
        raise DataError(
            f"{other} ({owner}) and {file} ({split}) are the same picture in two splits; remove one"
        )


def note_picture(
    owners: dict, digest: Hashable, split: str, file: pathlib.Path, findings: Findings
) -> None:
    """The same for all pictures of a collection, whose pairs are told together."""
    try:
        claim_picture(owners, digest, split, file)
    except DataError:
        owner, other = owners[digest]
        findings.add(
            "pictures are in two splits; remove one of each", f"{other} ({owner}), {file} ({split})"
        )


def _pixel_digest(image: UInt8[np.ndarray, "r r 3"]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image)).digest()[:16]


def open_folder(
    data: DataSettings, networks: Mapping[str, str], image_size: int
) -> tuple[ImageFolder, dict[str, Any]]:
    """Open the images of `data.folder`; see `open_source`.

    Raises:
      DataError: as for `ImageFolder`.
    """
    del networks  # the images are there
    splits = {
        name: (first, min(stop, first + data.limits.get(name, stop - first)))
        for name, (first, stop) in data.splits.items()
    }
    folder = ImageFolder(data.folder, splits, image_size=image_size, num_threads=data.num_threads)
    return folder, folder.describe(FileDigests(data.directory))
