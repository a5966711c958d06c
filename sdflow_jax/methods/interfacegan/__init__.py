"""InterFaceGAN (Shen et al. 2020): a hyperplane in latent space for each attribute."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from sdflow_jax.files.config_groups import Group
from sdflow_jax.methods.latent_editing import EXPORTS, LatentEditing
from sdflow_jax.methods.method import RunSettings
from sdflow_jax.training.interrupts import Interrupts

NAME = "interfacegan"


class InterFaceGAN:
    """The room of InterFaceGAN; a `Method`."""

    networks: Mapping[str, str] = {
        "AttributeDirections": "sdflow_jax.methods.interfacegan.directions:AttributeDirections",
    }
    exports = EXPORTS

    def read(self, config: Group) -> Any:
        # Late, as below: an editor needs neither losses nor data sets nor checkpoints.
        from sdflow_jax.methods.interfacegan.settings import InterFaceGANSettings

        return InterFaceGANSettings.read(config)

    def train(
        self,
        settings: RunSettings,
        workdir: pathlib.Path,
        dataset: pathlib.Path,
        interrupts: Interrupts,
    ) -> None:
        from sdflow_jax.methods.interfacegan.training import train

        train(settings, workdir, dataset, interrupts)

    def load(self, workdir: str | os.PathLike[str]) -> LatentEditing:
        return LatentEditing.from_workdir(workdir, NAME, mover="AttributeDirections")
