"""SDFlow (Li et al. 2024), its ablation, and StyleFlow (Abdal et al. 2021): a flow under semantic
variables, which differ in the losses that train it.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from sdflow_jax.methods.sdflow.editing import FlowEditing
from sdflow_jax.training.interrupts import Interrupts


class SDFlow:
    """The room of SDFlow; a `Method`."""

    networks: Mapping[str, str] = {}  # the flow and the semantic encoder stand for themselves
    exports = ("flow", "semantic_encoder")

    def check(self, config: Mapping[str, Any]) -> list[str]:
        from sdflow_jax.methods.sdflow.settings import check

        return check(config)

    def train(
        self,
        config: Mapping[str, Any],
        workdir: pathlib.Path,
        dataset: pathlib.Path,
        interrupts: Interrupts,
    ) -> None:
        # Late: it brings in data sets and checkpoints, which an editor does not need.
        from sdflow_jax.methods.sdflow.training import train

        train(config, workdir, dataset, interrupts)

    def load(self, workdir: str | os.PathLike[str]) -> FlowEditing:
        return FlowEditing.from_workdir(workdir)
