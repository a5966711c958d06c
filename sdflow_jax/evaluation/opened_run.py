"""A finished run with all that an evaluation of it needs: its faces, its generators, and judges."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from sdflow_jax.data import face_latents
from sdflow_jax.data.prepared import prepare_data
from sdflow_jax.evaluation.evaluation_setup import EvaluationSetup
from sdflow_jax.evaluation.judges import Judges, load_judges
from sdflow_jax.files.attribute_names import attribute_columns
from sdflow_jax.files.config_groups import ConfigError
from sdflow_jax.files.renderers import find_larger
from sdflow_jax.files.roles import JUDGING_ROLES, load_role
from sdflow_jax.methods.method import RunSettings


class OpenedRun(NamedTuple):
    """What `open_run` finds.

    Attributes:
      setup: generators and judges.
      own_judges: those that the run's networks are, also where others judge.
      faces: of the split, items with `image`, `w_plus` and `predictions`.
      known_attributes: what the columns of `predictions` are.
      data_name: of the data set, another for other faces, latents and predictions.
    """

    setup: EvaluationSetup
    own_judges: Judges
    faces: Sequence[Mapping[str, Any]]
    known_attributes: tuple[str, ...]
    data_name: str

    def columns_of(self, attributes: Sequence[str]) -> list[int]:
        """Where attributes stand among the `predictions`."""
        return attribute_columns(self.known_attributes, attributes)


def require_judges(files: Mapping[str, str]) -> None:
    """Refuse networks without judges.

    Args:
      files: role -> file, of a run.

    Raises:
      ConfigError: naming the role that is missing.
    """
    for role in JUDGING_ROLES:
        if not files.get(role):
            raise ConfigError(
                f"config.networks.{role} must be a network file: the evaluation needs a judge;"
                f" give --network={role}=FILE"
            )


def open_run(
    run: RunSettings,
    workdir: str | os.PathLike[str],
    split: str,
    *,
    judges: Judges | None = None,
) -> OpenedRun:
    """Load what an evaluation needs, and set the precision of products to the run's, as in its training: a GPU
    would round the factors of float32 products otherwise.

    Args:
      run: of the run; its networks name the judges, see `require_judges`.
      workdir: of the run.
      split: of its faces.
      judges: in place of the run's own.
    """
    jax.config.update("jax_default_matmul_precision", run.matmul_precision)
    dataset = prepare_data(run.data, run.networks, workdir)
    recipe = face_latents.read_recipe(dataset)
    generator = load_role(run.networks, "generator")
    own = load_judges(
        run.networks["evaluation_classifier"],
        run.networks["identity_encoder"],
        image_size=recipe["image_size"],
    )
    return OpenedRun(
        EvaluationSetup(
            generator, judges or own, find_larger(run.networks["generator"], generator)
        ),
        own,
        face_latents.open_split(dataset, split),
        tuple(recipe["attributes"]),
        pathlib.Path(dataset).parent.name,
    )
