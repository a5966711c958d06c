"""SDFlow (Li et al. 2024), its ablation, and StyleFlow (Abdal et al. 2021): a flow under semantic
variables, which differ in the losses that train it.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from sdflow_jax.files.config_groups import Group
from sdflow_jax.methods.method import RunSettings
from sdflow_jax.methods.sdflow.editing import FlowEditing
from sdflow_jax.training.interrupts import Interrupts


class SDFlow:
    """The room of SDFlow; a `Method`."""

    networks: Mapping[str, str] = {}  # the flow and the semantic encoder stand for themselves
    exports = ("flow",)

    def read(self, config: Group) -> Any:
        # Late, as below: an editor needs neither losses nor data sets nor checkpoints.
        from sdflow_jax.methods.sdflow.settings import SDFlowSettings

        return SDFlowSettings.read(config)

    def train(
        self,
        settings: RunSettings,
        workdir: pathlib.Path,
        dataset: pathlib.Path,
        interrupts: Interrupts,
    ) -> None:
        from sdflow_jax.methods.sdflow.training import train

        train(settings, workdir, dataset, interrupts)

    def load(self, workdir: str | os.PathLike[str]) -> FlowEditing:
        return FlowEditing.from_workdir(workdir)
