"""The trained networks as network files, which the editor and the evaluation read."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from sdflow_jax import networks
from sdflow_jax.training.state import TrainedNetworks

DIRECTORY = "sdflow"


def exported(workdir: str | os.PathLike[str], directory: str = DIRECTORY) -> pathlib.Path:
    """The directory of a run's trained networks.

    Raises:
      NetworkFileError: if the run has not exported any.
    """
    path = pathlib.Path(workdir) / directory
    if not path.is_dir():
        raise networks.NetworkFileError(
            f"{path}: no such directory; has the training in {workdir} finished?"
        )
    return path


def export_networks(
    workdir: str | os.PathLike[str],
    trained: TrainedNetworks,
    arguments: Mapping[str, Mapping[str, Any]],
    *,
    attributes: Sequence[str],
    image_size: int,
    step: int,
) -> pathlib.Path:
    """Write `sdflow/flow.safetensors` and `sdflow/semantic_encoder.safetensors` below `workdir`.

    Args:
      workdir: the run's directory.
      trained: the networks.
      arguments: "flow" and "semantic_encoder" -> the arguments that built them.
      attributes: names of the semantic variables, kept as the note `attributes`.
      image_size: side of the images that the semantic encoder was trained on, kept as a note.
      step: steps trained, kept as a note.

    Returns:
      The directory of the two files.
    """
    directory = pathlib.Path(workdir) / DIRECTORY
    notes = {"attributes": ",".join(attributes), "image_size": str(image_size), "step": str(step)}
    for name in ("flow", "semantic_encoder"):
        file = directory / f"{name}.safetensors"
        networks.save_network(file, getattr(trained, name), arguments[name], notes=notes)
    return directory
