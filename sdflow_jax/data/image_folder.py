"""Faces from a directory of image files, for instance FFHQ's aligned PNGs."""

import concurrent.futures
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sdflow_jax.data.image_source import DataError, FaceBatch, check_ranges
from sdflow_jax.data.settings import DataSettings
from sdflow_jax.images.reading import SUFFIXES, ImageFileError, read_image, resize_square


def image_files(directory: str | os.PathLike[str]) -> list[pathlib.Path]:
    """The PNG, JPEG and WebP files below `directory`, in the order of their paths.

    Raises:
      DataError: if the directory does not exist.
    """
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory of images; set config.data.folder")
    return sorted(f for f in directory.rglob("*") if f.suffix.lower() in SUFFIXES)


class ImageFolder:
    """The image files below `directory` in the order of their paths; a face's identifier is its
    place in it.

    Args:
      directory: searched recursively for PNG, JPEG and WebP files.
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
        self._check_splits()

    def _check_splits(self) -> None:
        check_ranges(self.splits)
        end = max((stop for _, stop in self.splits.values()), default=0)
        if end > len(self._files):
            raise DataError(
                f"the splits reach to image {end}, {self.directory} has {len(self._files)};"
                " check config.data.folder and config.data.splits"
            )

    def describe(self) -> dict[str, Any]:
        """JSON-able facts that determine the images, without reading them."""
        first = min(first for first, _ in self.splits.values())
        last = max(stop for _, stop in self.splits.values()) - 1
        return {
            "kind": "folder",
            "splits": {name: list(limits) for name, limits in sorted(self.splits.items())},
            "image_size": self.image_size,
            # Names, not the directory's path: a folder that was moved still holds the same faces.
            "files": [str(self._files[i].relative_to(self.directory)) for i in (first, last)],
            "num_files": len(self._files),
        }

    def num_faces(self, split: str) -> int:
        first, stop = self.splits.get(split, (0, 0))
        return stop - first

    def split(self, split: str) -> Iterator[FaceBatch]:
        first, stop = self.splits.get(split, (0, 0))
        with concurrent.futures.ThreadPoolExecutor(self._num_threads) as pool:
            for start in range(first, stop, self._batch_size):
                places = np.arange(start, min(start + self._batch_size, stop), dtype=np.int64)
                yield places, np.stack(list(pool.map(self._read, places)))

    def _read(self, place: int) -> UInt8[np.ndarray, "r r 3"]:
        file = self._files[place]
        try:
            image = read_image(file)
        except ImageFileError as error:
            raise DataError(str(error)) from error
        height, width = image.shape[:2]
        if width != height:
            raise DataError(
                f"{file}: expected a square aligned face, got {width} x {height} pixels"
            )
        return resize_square(image, self.image_size)


def open_folder(
    data: DataSettings, networks: Mapping[str, str], image_size: int
) -> tuple[ImageFolder, dict[str, Any]]:
    """Open the images of `data.folder`; see `open_source`.

    Raises:
      DataError: as for `ImageFolder`.
    """
    del networks  # the images are there
    folder = ImageFolder(
        data.folder, data.splits, image_size=image_size, num_threads=data.num_threads
    )
    return folder, folder.describe()
