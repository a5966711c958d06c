"""What the data set builder asks of a collection of face images."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from jaxtyping import Int64, UInt8

SPLITS = ("train", "validation", "test")

FaceBatch = tuple[Int64[np.ndarray, "b"], UInt8[np.ndarray, "b h w 3"]]


class DataError(ValueError):
    """The faces that were asked for do not exist, cannot be read, or do not fit their use."""


class ImageSource(Protocol):
    """Aligned face images in three splits, always in the same order.

    `ImageFolder` reads them from a disk; `data.sources` lists the kinds there are.
    """

    def num_faces(self, split: str) -> int:
        """How many faces the split has."""
        ...

    def split(self, split: str) -> Iterable[FaceBatch]:
        """The faces of a split, in batches of any size: their identifiers and their square RGB
        images.
        """
        ...
