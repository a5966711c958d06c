"""The data set that a config asks for: built or found, its batches, and a few faces to look at."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np
from numpy.typing import NDArray

from sdflow_jax.data import face_latents
from sdflow_jax.data.pipeline import FIELDS, describe_batches, training_batches
from sdflow_jax.data.settings import DataSettings
from sdflow_jax.data.sources import open_source
from sdflow_jax.files import networks


def faces_size(data: DataSettings, files: Mapping[str, str]) -> int:
    """Side in pixels of a config's faces: what the inversion encoder takes, or for faces that bring their latents
    what the config says; 0 where it leaves that to the source.

    Args:
      data: which faces.
      files: role -> network file.

    Raises:
      NetworkFileError: if the inversion encoder's file cannot be read.
    """
    if data.brings_latents:
        return data.image_size
    metadata = networks.read_metadata(files["inversion_encoder"])
    return networks.build_abstract(metadata["network"], metadata["arguments"]).image_size


def prepare_data(
    data: DataSettings, files: Mapping[str, str], workdir: str | os.PathLike[str]
) -> pathlib.Path:
    """Build the data set of a config, or find it already built.

    It lies in `data.directory`, or in `workdir/data` if that is empty. One that is there is used
    again, and named in a line, if it was made of images of the same content by the same networks.

    Args:
      data: which faces.
      files: role -> network file; the classifier annotates the faces, and so does the inversion
        encoder unless they come with their latents.
      workdir: the run's directory.

    Returns:
      Its directory, for `face_latents.open_split` and the functions below.

    Raises:
      DataError: if the faces do not exist, cannot be read, or are the same in two splits.
      InUseError: if another process is building in that directory.
      NetworkFileError: if the inversion encoder or the classifier cannot be read.
    """
    encoder = None if data.brings_latents else files["inversion_encoder"]
    image_size = faces_size(data, files)
    directory = data.directory or str(pathlib.Path(workdir) / "data")
    data = dataclasses.replace(data, directory=directory)
    source, description = open_source(data, files, image_size)
    return face_latents.prepare(
        directory,
        source,
        description=description,
        inversion_encoder=encoder,
        classifier=files["classifier"],
        batch_size=data.annotation_batch_size,
    )


def open_batches(
    dataset: pathlib.Path,
    columns: Sequence[int],
    *,
    batch_size: int,
    seed: int,
    data: DataSettings,
    fields: Sequence[str] = FIELDS,
) -> tuple[grain.DatasetIterator, dict[str, Any]]:
    """Batches of the training split, of this process's share.

    Args:
      dataset: as by `prepare_data`.
      columns: of the predictions, those to keep.
      batch_size: faces per batch over all processes.
      seed: of the order.
      data: how many threads read, and how many batches ahead.
      fields: some of `FIELDS`, `predictions` among them: those that the batches have.

    Returns:
      The batches, as by `training_batches`, and their description for the checkpoints.
    """
    faces = face_latents.open_split(dataset, "train", fields)
    order = {
        "batch_size": batch_size,
        "seed": seed,
        "process_count": jax.process_count(),
    }
    batches = training_batches(
        faces,
        columns,
        **order,
        process_index=jax.process_index(),
        num_threads=data.num_threads,
        prefetch=data.prefetch,
    )
    return batches, describe_batches(dataset.parent.name, len(faces), columns, **order)


def held_out_faces(dataset: pathlib.Path, count: int) -> tuple[NDArray, NDArray]:
    """The first faces of the split that training is watched on, for pictures.

    Returns:
      Their images [c, R, R, 3], uint8, and W+ latents [c, n, d]; c is `count` or all there are.
    """
    split = face_latents.held_out_split(dataset)
    faces = face_latents.open_split(dataset, split, ("image", "w_plus"))
    chosen = [faces[i] for i in range(min(count, len(faces)))]
    return np.stack([face["image"] for face in chosen]), np.stack([f["w_plus"] for f in chosen])
