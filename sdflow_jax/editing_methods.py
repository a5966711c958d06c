"""What every way to edit faces offers, and how a training run's own is loaded."""

import os
from collections.abc import Mapping
from typing import Any, Protocol

from jaxtyping import Array, Float

from sdflow_jax.baselines.latent_editing import LatentEditing
from sdflow_jax.config import load_config
from sdflow_jax.flow_editing import FlowEditing


class EditingMethod(Protocol):
    """A way to edit faces in W+, in two steps: what depends on the face alone, and what on the
    target.

    Both steps are pure and run inside `jax.jit`; the method itself is passed as an argument, so it
    must be a pytree (an `nnx.Module` is one). The first step runs once per face, the second once
    per face and edit.

    Attributes:
      attributes: the names of the semantic variables, in the order of their columns.
      reader: what reads the semantic variables, in words.
    """

    attributes: tuple[str, ...]
    reader: str

    def encode(
        self, w_plus: Float[Array, "b n d"], images: Float[Array, "b h w 3"]
    ) -> tuple[Any, Float[Array, "b a"]]:
        """Return a code, any pytree with `b` rows, and the semantic variables read from the faces.

        Args:
          w_plus: the faces' latents.
          images: the faces, in [-1, 1].
        """
        ...

    def decode(self, code: Any, semantic_variables: Float[Array, "b a"]) -> Float[Array, "b n d"]:
        """Return the latents of the faces with these semantic variables.

        Args:
          code: as returned by `encode`.
          semantic_variables: the targets, nominally in [0, 1]; values beyond ask for more than full
            strength.

        Returns:
          Edited latents; a row that could not be computed is NaN.
        """
        ...


def load_method(
    workdir: str | os.PathLike[str], *, solver: Mapping[str, Any] | None = None
) -> FlowEditing | LatentEditing:
    """The editing method that a finished training run has produced; it also has `read(images)`.

    Args:
      workdir: the run's directory.
      solver: solver settings that replace some of the flow's own; of no use to other methods.

    Raises:
      FileNotFoundError: if the directory holds no run.
      NetworkFileError: if the run has exported no networks yet.
    """
    method = load_config(workdir)["method"]
    if method == "sdflow":
        return FlowEditing.from_workdir(workdir, solver=solver)
    return LatentEditing.from_workdir(workdir, method)
