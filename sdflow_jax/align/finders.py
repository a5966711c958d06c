"""What finds faces and their landmarks: a protocol, and the names under which finders are known."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from sdflow_jax.align.geometry import AlignError, FacePoints
from sdflow_jax.files.late_import import imported

# Name -> "module:class" without arguments. Another one can be given as "module:class" itself.
FINDERS = {"dlib": "sdflow_jax.align.dlib_finder:DlibFinder"}


@dataclasses.dataclass(frozen=True)
class FoundFace:
    """A face that was found in a photo.

    Attributes:
      points: where its eyes and its mouth are, in photo coordinates.
      box: left, top, right, bottom, in photo coordinates.
      score: how sure the finder is; only comparable to scores of the same finder.
    """

    points: FacePoints
    box: tuple[float, float, float, float]
    score: float


class FaceFinder(Protocol):
    """Finds faces and their landmarks. May be called from several threads at a time.

    Attributes:
      version: changes when other faces are found.
    """

    version: str

    def __call__(self, photo: UInt8[np.ndarray, "h w 3"]) -> Sequence[FoundFace]:
        """All faces of an upright photo, in any order."""
        ...


def load_finder(name: str) -> FaceFinder:
    """The finder of a name.

    Args:
      name: a key of `FINDERS`, or "module:class".

    Raises:
      AlignError: if it is unknown, or what it needs is not installed.
    """
    if name not in FINDERS and ":" not in name:
        known = ", ".join(FINDERS)
        raise AlignError(f"unknown face finder {name!r}; known are {known}, and MODULE:CLASS")
    try:
        return imported(FINDERS.get(name, name))()
    except (ImportError, AttributeError, FileNotFoundError) as error:
        raise AlignError(f"the face finder {name} cannot be loaded: {error}") from error
