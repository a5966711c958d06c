"""Where a finished run leaves its networks: `WORKDIR/METHOD`."""

import os
import pathlib

from sdflow_jax.files import networks
from sdflow_jax.files.networks import NetworkFileError
from sdflow_jax.files.run_config import load_config


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


def check_steps(workdir: str | os.PathLike[str], *files: pathlib.Path) -> None:
    """Make sure that network files are of a run's last step: a run that was finished and is now trained for longer
    keeps the earlier ones until it ends, and one that is killed as it ends may have replaced some of them.

    Args:
      workdir: of the run.
      *files: that it has exported; one that does not tell its step is taken as it is.

    Raises:
      NetworkFileError: if one of them is of another step.
    """
    told = {file: networks.read_metadata(file).get("step") for file in files}
    steps = {file: int(step) for file, step in told.items() if step is not None}
    wanted = load_config(workdir)["training"]["num_steps"] if steps else None
    for file, step in steps.items():
        if step != wanted:
            raise NetworkFileError(
                f"{file} is of step {step}, but the run goes on to {wanted} steps; train.py with the same --workdir"
                " finishes it"
            )
