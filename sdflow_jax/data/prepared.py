"""The data set that a config asks for: built or found, its batches, and a few faces to look at."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np
from numpy.typing import NDArray

from sdflow_jax.data import face_latents
from sdflow_jax.data.pipeline import describe_batches, training_batches
from sdflow_jax.data.sources import open_source
from sdflow_jax.files import networks

Config = Mapping[str, Any]


def prepare_data(config: Config, workdir: str | os.PathLike[str]) -> pathlib.Path:
    """Build the data set of a config, or find it already built.

    It lies in `config.data.directory`, or in `workdir/data` if that is empty.

    Returns:
      Its directory, for `face_latents.open_split` and the functions below.

    Raises:
      DataError: if the faces do not exist or cannot be read.
      NetworkFileError: if the inversion encoder or the classifier cannot be read.
    """
    encoder = config["networks"]["inversion_encoder"]
    image_size = networks.read_metadata(encoder)["arguments"].get("image_size", 256)
    source, description = open_source(config["data"], image_size)
    return face_latents.prepare(
        config["data"]["directory"] or pathlib.Path(workdir) / "data",
        source,
        description=description,
        inversion_encoder=encoder,
        classifier=config["networks"]["classifier"],
        batch_size=config["data"]["annotation_batch_size"],
    )


def open_batches(
    config: Config, dataset: pathlib.Path, columns: Sequence[int]
) -> tuple[grain.DatasetIterator, dict[str, Any]]:
    """Batches of the training split with these columns of the predictions, and their description
    for the checkpoints.
    """
    faces = face_latents.open_split(dataset, "train")
    order = {
        "batch_size": config["training"]["batch_size"],
        "seed": config["seed"],
        "process_count": jax.process_count(),
    }
    batches = training_batches(
        faces,
        columns,
        **order,
        process_index=jax.process_index(),
        num_threads=config["data"]["num_threads"],
        prefetch=config["data"]["prefetch"],
    )
    return batches, describe_batches(dataset.parent.name, len(faces), columns, **order)


def held_out_faces(dataset: pathlib.Path, count: int) -> tuple[NDArray, NDArray]:
    """The first faces kept from training, to draw them.

    Returns:
      Their images [c, R, R, 3], uint8, and W+ latents [c, n, d]; c is `count` or all there are.
    """
    faces = face_latents.open_split(dataset, face_latents.held_out_split(dataset))
    chosen = [faces[i] for i in range(min(count, len(faces)))]
    return np.stack([face["image"] for face in chosen]), np.stack([f["w_plus"] for f in chosen])
