"""Where a finished run leaves its networks: `WORKDIR/METHOD`."""

import os
import pathlib

from sdflow_jax.files.networks import NetworkFileError


def exported(workdir: str | os.PathLike[str], method: str) -> pathlib.Path:
    """The directory of a run's trained networks.

    Raises:
      NetworkFileError: if the run has not exported any.
    """
    path = pathlib.Path(workdir) / method
    if not path.is_dir():
        raise NetworkFileError(
            f"{path}: no such directory; has the training in {workdir} finished?"
        )
    return path
