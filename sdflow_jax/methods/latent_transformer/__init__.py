"""The Latent Transformer (Yao et al. 2021): an affine map of the latent for each attribute."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from sdflow_jax.files.config_groups import Group
from sdflow_jax.methods.latent_editing import EXPORTS, LatentEditing
from sdflow_jax.methods.method import RunSettings
from sdflow_jax.training.interrupts import Interrupts

NAME = "latent_transformer"


class LatentTransformerMethod:
    """The room of the Latent Transformer; a `Method`."""

    networks: Mapping[str, str] = {
        "LatentTransformer": "sdflow_jax.methods.latent_transformer.networks:LatentTransformer",
        "AttributeTransformers": (
            "sdflow_jax.methods.latent_transformer.networks:AttributeTransformers"
        ),
        "LatentClassifier": "sdflow_jax.methods.latent_transformer.networks:LatentClassifier",
    }
    exports = EXPORTS

    def read(self, config: Group) -> Any:
        # Late, as below: an editor needs neither losses nor data sets nor checkpoints.
        from sdflow_jax.methods.latent_transformer.settings import LatentTransformerSettings

        return LatentTransformerSettings.read(config)

    def train(
        self,
        settings: RunSettings,
        workdir: pathlib.Path,
        dataset: pathlib.Path,
        interrupts: Interrupts,
    ) -> None:
        from sdflow_jax.methods.latent_transformer.training import train

        train(settings, workdir, dataset, interrupts)

    def load(self, workdir: str | os.PathLike[str]) -> LatentEditing:
        return LatentEditing.from_workdir(workdir, NAME, mover="AttributeTransformers")
