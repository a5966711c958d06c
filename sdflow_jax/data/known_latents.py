"""Faces whose latents somebody else has found: the source "latents"."""

import concurrent.futures
import functools
import hashlib
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float32, Int64, UInt8

from sdflow_jax.data.file_digests import FileDigests
from sdflow_jax.data.findings import Findings
from sdflow_jax.data.image_folder import note_picture, read_face
from sdflow_jax.data.image_source import CONTENT, SPLITS, DataError, FaceBatch, check_ranges
from sdflow_jax.data.latents_file import LatentsFile
from sdflow_jax.data.settings import DataSettings
from sdflow_jax.files import networks as network_files
from sdflow_jax.files.roles import load_role
from sdflow_jax.images.batching import batches_of, map_batches
from sdflow_jax.images.pixels import to_bytes
from sdflow_jax.models.synthesis import faces_of


class KnownLatents:
    """The faces of a file of latents; a `LatentSource`. A face's identifier is its place in the file.

    Args:
      file: the latents.
      places: split -> the faces' places in the file.
      folder: of the pictures that the file names; "" where it names none, and the generator makes
        them.
      files: role -> network file; the generator's is read when the first face is made.
      image_size: side of the images in pixels.
      batch_size: faces per batch, and per pass through the generator.
      num_threads: pictures decoded at a time.
    """

    def __init__(
        self,
        file: LatentsFile,
        places: Mapping[str, Int64[np.ndarray, "f"]],
        *,
        folder: str | os.PathLike[str],
        files: Mapping[str, str],
        image_size: int,
        batch_size: int = 64,
        num_threads: int = 8,
    ):
        self.image_size = image_size
        self.latent_shape = file.latent_shape
        self._file = file
        self._places = places
        self._folder = pathlib.Path(folder)
        self._files = files
        self._batch_size = batch_size
        self._num_threads = num_threads

    def num_faces(self, split: str) -> int:
        return len(self._places[split])

    def latents(self, ids: Int64[np.ndarray, "b"]) -> Float32[np.ndarray, "b n d"]:
        return self._file.latents(ids)

    def split(self, split: str) -> Iterator[FaceBatch]:
        batches = batches_of(self._places[split], self._batch_size)
        if not self._file.pictures:
            for ids in batches:
                yield ids, map_batches(self._synthesize, self._batch_size, self.latents(ids))
            return
        with concurrent.futures.ThreadPoolExecutor(self._num_threads) as pool:
            for ids in batches:
                yield ids, np.stack(list(pool.map(self._read, ids)))

    def picture_files(self, split: str) -> list[pathlib.Path]:
        """The pictures of a split; none where the generator makes them."""
        pictures = self._file.pictures
        return [self._folder / pictures[place] for place in self._places[split]] if pictures else []

    def _read(self, place: int) -> UInt8[np.ndarray, "r r 3"]:
        return read_face(self._folder / self._file.pictures[place], self.image_size)

    @functools.cached_property
    def _synthesize(self):
        """The generator, compiled: latents to 8-bit images."""
        graphdef, weights = nnx.split(load_role(self._files, "generator"))
        weights = nnx.as_pure(weights)

        @jax.jit
        def synthesize(weights, w_plus):
            return faces_of(nnx.merge(graphdef, weights), w_plus, self.image_size)

        return lambda w_plus: to_bytes(synthesize(weights, w_plus))


class LabeledLatents(KnownLatents):
    """The same with predictions in the file; a `LabeledSource` as well."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the predictions' columns."""
        return self._file.attributes

    def predictions(self, ids: Int64[np.ndarray, "b"]) -> Float32[np.ndarray, "b a"]:
        return self._file.predictions(ids)


def open_latents(
    data: DataSettings, networks: Mapping[str, str], image_size: int
) -> tuple[KnownLatents, dict[str, Any]]:
    """Open the faces of `data.latents`; see `open_source`.

    Where the file says which split a face belongs to, that stands, and `data.splits` is not read.

    Raises:
      DataError: if the file or a picture is missing, two splits have a picture of equal content, the
        latents are not the generator's, or the splits ask for more faces than there are.
    """
    file = LatentsFile(data.latents)
    metadata = network_files.read_metadata(networks["generator"])
    generator = network_files.build_abstract(metadata["network"], metadata["arguments"])
    rows, dim = file.latent_shape
    if dim != generator.style_dim or rows not in (1, generator.num_styles):
        raise DataError(
            f"{file.path} holds latents of shape {file.latent_shape}, the generator takes"
            f" {(generator.num_styles, generator.style_dim)}"
        )
    if bool(file.pictures) != bool(data.folder):
        needs = (
            "names pictures: set config.data.folder"
            if file.pictures
            else ("names no pictures, the generator makes them: leave config.data.folder empty")
        )
        raise DataError(f"{file.path} {needs}")
    source = (LabeledLatents if file.attributes else KnownLatents)(
        file,
        _places(file, data),
        folder=data.folder,
        files=networks,
        image_size=image_size or generator.resolution,
        batch_size=data.annotation_batch_size,
        num_threads=data.num_threads,
    )
    digests = FileDigests(data.directory)
    content = {"latents": digests.of([file.path], num_threads=1)[0]}
    owners, findings = {}, Findings(file.path)
    for name in SPLITS:
        pictures = source.picture_files(name)
        found = digests.of(pictures, num_threads=data.num_threads)
        for picture, digest in zip(pictures, found, strict=True):
            note_picture(owners, digest, name, picture, findings)
        content[name] = hashlib.sha256("".join(found).encode()).hexdigest()[:16]
    findings.finish()
    drawn_by = "" if file.pictures else network_files.digest(networks["generator"])
    return source, {
        "kind": "latents",
        "splits": {} if file.has_splits else {n: list(x) for n, x in sorted(data.splits.items())},
        "limits": dict(sorted(data.limits.items())),
        "image_size": source.image_size,
        "generator": drawn_by,
        CONTENT: content,
    }


def _places(file: LatentsFile, data: DataSettings) -> dict[str, Int64[np.ndarray, "f"]]:
    """The faces of each split, up to its limit."""
    if file.has_splits:
        places = {name: file.split(name) for name in SPLITS}
    else:
        check_ranges(data.splits)
        end = max((stop for _, stop in data.splits.values()), default=0)
        if end > file.num_faces or "train" not in data.splits:
            raise DataError(
                f"{file.path} has {file.num_faces} faces and no splits; config.data.splits must"
                " say which of them are for training"
            )
        places = {
            name: np.arange(*data.splits.get(name, (0, 0)), dtype=np.int64) for name in SPLITS
        }
    return {name: found[: data.limits.get(name, len(found))] for name, found in places.items()}
