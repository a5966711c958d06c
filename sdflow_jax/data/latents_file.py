"""A file of faces' latents, with what somebody predicted of the faces: a safetensors file.

`python -m converters.latents` makes one of what others have published.
"""

import functools
import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from safetensors import SafetensorError, safe_open

from sdflow_jax.data.image_source import SPLITS, DataError
from sdflow_jax.files.atomic import write_atomic
from sdflow_jax.files.networks import write_safetensors

_FORMAT = "face latents 1"


def save_latents(
    path: str | os.PathLike[str],
    w_plus: Float32[np.ndarray, "f n d"],
    *,
    predictions: Float32[np.ndarray, "f a"] | None = None,
    attributes: Sequence[str] = (),
    splits: UInt8[np.ndarray, "f"] | None = None,
    pictures: Sequence[str] = (),
) -> None:
    """Write latents atomically.

    Args:
      path: the file.
      w_plus: the latents; one row where it stands for all styles.
      predictions: of the attributes, in [0, 1]; None for none.
      attributes: their names.
      splits: the place in `SPLITS` of each face's split; None leaves the splits open.
      pictures: each face's file, relative to a folder; none where a generator makes them.
    """
    arrays = {"w_plus": w_plus}
    if predictions is not None:
        arrays["predictions"] = predictions
    if splits is not None:
        arrays["splits"] = splits
    metadata = {
        "format": _FORMAT,
        "attributes": ",".join(attributes),
        "pictures": json.dumps(list(pictures)),
    }
    write_atomic(path, lambda stream: write_safetensors(stream, arrays, metadata))


class LatentsFile:
    """A file that `save_latents` has written; its latents stay on the disk until they are read.

    Args:
      path: the file.

    Raises:
      DataError: if it is missing, damaged, or no such file.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path)
        try:
            with self._opened() as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise DataError(
                        f"{path}: no file of latents; `python -m converters.latents` makes one"
                    )
                self.num_faces, *latent_shape = file.get_slice("w_plus").get_shape()
                self._splits = file.get_tensor("splits") if "splits" in file.keys() else None  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path}: cannot be read ({error})") from error
        self.latent_shape: tuple[int, int] = tuple(latent_shape)
        self.attributes = tuple(filter(None, metadata["attributes"].split(",")))
        self.pictures: list[str] = json.loads(metadata["pictures"])

    @property
    def has_splits(self) -> bool:
        """Whether the file says which split a face belongs to."""
        return self._splits is not None

    def split(self, name: str) -> Int64[np.ndarray, "s"]:
        """The faces of a split, if the file says so."""
        return np.flatnonzero(self._splits == SPLITS.index(name)).astype(np.int64)

    def latents(self, faces: Int64[np.ndarray, "b"]) -> Float32[np.ndarray, "b n d"]:
        """The latents of faces, by their places in the file."""
        with self._opened() as file:
            rows = file.get_slice("w_plus")
            return np.stack([rows[int(face) : int(face) + 1][0] for face in faces])

    def predictions(self, faces: Int64[np.ndarray, "b"]) -> Float32[np.ndarray, "b a"]:
        """What was predicted of faces; the file must have `attributes`."""
        return self._predictions[faces]

    @functools.cached_property
    def _predictions(self) -> np.ndarray:
        with self._opened() as file:
            return file.get_tensor("predictions")

    def _opened(self):
        return safe_open(self.path, framework="numpy")
