"""SDFlow's way to edit (Li et al. 2024; upstream `models/editor.py`)."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.files import networks
from sdflow_jax.flow.conditional_flow import ConditionalFlow
from sdflow_jax.flow.solve import SolverSettings
from sdflow_jax.methods.exports import check_steps, exported
from sdflow_jax.methods.readers import ReadingMethod, find_reader, load_reader, save_reader

FLOW_FILE = "flow.safetensors"


class FlowEditing(ReadingMethod):
    """SDFlow's way to edit: out of W+ under the face's own semantic variables, back under the
    wanted ones.

    A `SamplingMethod`: `encode` depends on the face alone and is done once, `decode` once per edit.

    Args:
      flow: the conditional flow.
      semantic_encoder: reads semantic variables off images of `image_size` pixels.
      attributes: names of the semantic variables.
      image_size: side of the semantic encoder's input.
      num_rows: rows of the latents that the flow was trained on; None for the generator's styles.
      solver: solver settings for editing; None keeps the flow's own. Editing asks for no
        log-density and no gradient, so looser tolerances than in training do no harm.
    """

    def __init__(
        self,
        flow: ConditionalFlow,
        semantic_encoder: nnx.Module,
        *,
        attributes: Sequence[str],
        image_size: int,
        num_rows: int | None = None,
        solver: SolverSettings | None = None,
    ):
        if flow.num_conditions != len(attributes):
            raise ValueError(
                f"the flow has {flow.num_conditions} conditions, but {len(attributes)} attributes"
                f" are named ({', '.join(attributes)})"
            )
        super().__init__(semantic_encoder, tuple(attributes), image_size)
        self.flow = flow
        self.num_rows = num_rows
        self.solver = solver

    @classmethod
    def load(
        cls,
        flow: str | os.PathLike[str],
        semantic_encoder: str | os.PathLike[str],
        *,
        solver: Mapping[str, Any] | None = None,
    ) -> "FlowEditing":
        """Load the two network files, of which the semantic encoder's names attributes and image
        size.

        Args:
          flow: network file of the flow.
          semantic_encoder: network file of the semantic encoder.
          solver: solver settings that replace some of the flow's own.

        Raises:
          NetworkFileError: if a file is missing, of another kind, or does not name attributes or
            image size.
        """
        trained_flow = networks.load_network(flow, expected="ConditionalFlow")
        rows = networks.read_metadata(flow).get("num_rows")  # which older files do not tell
        encoder, attributes, image_size = load_reader(semantic_encoder)
        return cls(
            trained_flow,
            encoder,
            attributes=attributes,
            image_size=image_size,
            num_rows=int(rows) if rows else None,
            solver=trained_flow.solver.changed(solver),
        )

    @classmethod
    def from_workdir(
        cls, workdir: str | os.PathLike[str], *, solver: Mapping[str, Any] | None = None
    ) -> "FlowEditing":
        """Load the networks that a training run has exported; otherwise as `load`.

        Raises:
          NetworkFileError: also if they are not of the run's last step.
        """
        directory = exported(workdir, "sdflow")
        flow, reader = directory / FLOW_FILE, find_reader(directory)
        check_steps(workdir, flow, reader)
        return cls.load(flow, reader, solver=solver)

    @property
    def code_dim(self) -> int:
        """The size of one latent of a code; codes of faces are N(0, I)."""
        return self.flow.dim

    def encode(
        self, w_plus: Float[Array, "b n d"], images: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b a"]]:
        """Base-space latents z and semantic variables of faces; z is NaN if the solve failed."""
        semantic_variables = self.read(images)
        solution = self.flow.forward(w_plus, semantic_variables, solver=self.solver)
        return jnp.where(solution.success, solution.latents, jnp.nan), semantic_variables

    def decode(
        self, code: Float[Array, "b n d"], semantic_variables: Float[Array, "b a"]
    ) -> Float[Array, "b n d"]:
        """W+ latents of base-space latents under semantic variables; NaN if the solve failed."""
        solution = self.flow.inverse(code, semantic_variables, solver=self.solver)
        return jnp.where(solution.success, solution.latents, jnp.nan)


def export_editing(
    workdir: str | os.PathLike[str],
    editing: FlowEditing,
    arguments: Mapping[str, Mapping[str, Any]],
    *,
    step: int,
) -> pathlib.Path:
    """Write what `FlowEditing.from_workdir` reads, below `workdir/sdflow`; return that directory.

    Args:
      workdir: the run's directory.
      editing: flow and semantic encoder, whose attributes, image size and rows are kept as notes.
      arguments: "flow" and "semantic_encoder" -> the constructor arguments of each.
      step: steps trained, kept as a note.
    """
    directory = pathlib.Path(workdir) / "sdflow"
    notes = {**editing.notes, "step": str(step)}
    if editing.num_rows is not None:
        notes["num_rows"] = str(editing.num_rows)
    save_reader(directory, editing.semantic_encoder, arguments["semantic_encoder"], notes)
    # Last: a directory that holds it is complete.
    networks.save_network(directory / FLOW_FILE, editing.flow, arguments["flow"], notes=notes)
    return directory
