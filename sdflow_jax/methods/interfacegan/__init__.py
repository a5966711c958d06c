"""InterFaceGAN (Shen et al. 2020): a hyperplane in latent space for each attribute."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from sdflow_jax.methods.latent_editing import EXPORTS, LatentEditing
from sdflow_jax.training.interrupts import Interrupts

NAME = "interfacegan"


class InterFaceGAN:
    """The room of InterFaceGAN; a `Method`."""

    networks: Mapping[str, str] = {
        "AttributeDirections": "sdflow_jax.methods.interfacegan.directions:AttributeDirections",
    }
    exports = EXPORTS

    def check(self, config: Mapping[str, Any]) -> list[str]:
        from sdflow_jax.methods.interfacegan.settings import check

        return check(config)

    def train(
        self,
        config: Mapping[str, Any],
        workdir: pathlib.Path,
        dataset: pathlib.Path,
        interrupts: Interrupts,
    ) -> None:
        # Late: it brings in data sets and checkpoints, which an editor does not need.
        from sdflow_jax.methods.interfacegan.training import train

        train(config, workdir, dataset, interrupts)

    def load(self, workdir: str | os.PathLike[str]) -> LatentEditing:
        return LatentEditing.from_workdir(workdir, NAME, mover="AttributeDirections")
