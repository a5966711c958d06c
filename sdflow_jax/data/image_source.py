"""What the data set builder asks of a collection of face images."""

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64, UInt8

SPLITS = ("train", "validation", "test")

# The part of a source's description that changes with what its files hold and with nothing else.
CONTENT = "content"

FaceBatch = tuple[Int64[np.ndarray, "b"], UInt8[np.ndarray, "b h w 3"]]


class DataError(ValueError):
    """The faces that were asked for do not exist, cannot be read, or do not fit their use."""


class ImageSource(Protocol):
    """Aligned face images in three splits, always in the same order.

    `ImageFolder` reads them from a disk; `data.settings.SOURCES` lists the kinds there are.
    """

    def num_faces(self, split: str) -> int:
        """How many faces the split has."""
        ...

    def split(self, split: str) -> Iterable[FaceBatch]:
        """The faces of a split, in batches of any size: their identifiers and their square RGB
        images.
        """
        ...


@runtime_checkable
class LatentSource(ImageSource, Protocol):
    """An image source that knows its faces' latents, so that nobody has to invert its images.

    Attributes:
      image_size: side of the images in pixels.
      latent_shape: (rows, style dimension) of a face's latents.
    """

    image_size: int
    latent_shape: tuple[int, int]

    def latents(self, ids: Int64[np.ndarray, "b"]) -> Float32[np.ndarray, "b n d"]:
        """The latents of the faces with these identifiers."""
        ...


@runtime_checkable
class LabeledSource(ImageSource, Protocol):
    """An image source that knows predictions of its faces, so that no classifier is asked.

    Attributes:
      attributes: names of the predictions' columns.
    """

    attributes: tuple[str, ...]

    def predictions(self, ids: Int64[np.ndarray, "b"]) -> Float32[np.ndarray, "b a"]:
        """The predictions of the faces with these identifiers, in [0, 1]."""
        ...


def check_ranges(splits: Mapping[str, tuple[int, int]]) -> None:
    """Make sure that splits are known, not empty, and apart from each other.

    Args:
      splits: name -> first place and last + 1.

    Raises:
      DataError: if one is not.
    """
    unknown = set(splits) - set(SPLITS)
    if unknown:
        raise DataError(
            f"unknown split {', '.join(sorted(unknown))}; the splits are {', '.join(SPLITS)}"
        )
    end = 0
    for name, (first, stop) in sorted(splits.items(), key=lambda item: item[1]):
        if first < end or stop <= first:
            raise DataError(
                f"split {name} = [{first}, {stop}) is empty, negative or overlaps the one before it"
            )
        end = stop
