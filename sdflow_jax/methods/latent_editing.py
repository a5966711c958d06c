"""Editing by moving the latent itself, as InterFaceGAN and the Latent Transformer do.

Both find a change of the latent for each attribute. The common interface asks for semantic
variables instead, so a rule must say how far a target goes: both read the face's semantic variables
s with the frozen classifier C, and a target s_hat moves the latent by (s_hat - s) times the
attribute's change. A target that is what was read changes nothing; twice the difference goes twice
as far.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax.files import networks
from sdflow_jax.methods.exports import check_steps, exported
from sdflow_jax.methods.readers import ReadingMethod, find_reader, load_reader, save_reader

MOVER_FILE = "editing.safetensors"
EXPORTS = ("editing",)


class LatentEditing(ReadingMethod):
    """An `EditingMethod` that moves the latent by the difference of the semantic variables.

    Args:
      mover: maps codes [b, n, d] and changes of the semantic variables [b, a] to edited codes.
      semantic_encoder: reads semantic variables off images of `image_size` pixels.
      attributes: names of the semantic variables.
      image_size: side of the semantic encoder's input.
    """

    def __init__(
        self,
        mover: nnx.Module,
        semantic_encoder: nnx.Module,
        *,
        attributes: Sequence[str],
        image_size: int,
    ):
        super().__init__(semantic_encoder, tuple(attributes), image_size)
        self.mover = mover

    @classmethod
    def from_workdir(
        cls, workdir: str | os.PathLike[str], method: str, *, mover: str
    ) -> "LatentEditing":
        """Load what `export_editing` has left.

        Args:
          workdir: the run's directory.
          method: the name of the method, and of the directory of its networks.
          mover: registry name of the network that moves the latents.

        Raises:
          NetworkFileError: if the run has exported nothing yet, or not of its last step.
        """
        directory = exported(workdir, method)
        file, reader = directory / MOVER_FILE, find_reader(directory)
        check_steps(workdir, file, reader)
        encoder, attributes, image_size = load_reader(reader)
        network = networks.load_network(file, expected=mover)
        return cls(network, encoder, attributes=attributes, image_size=image_size)

    def encode(
        self, w_plus: Float[Array, "b n d"], images: Float[Array, "b h w 3"]
    ) -> tuple[tuple[Float[Array, "b n d"], Float[Array, "b a"]], Float[Array, "b a"]]:
        """The latents with the semantic variables from which a change is counted."""
        semantic_variables = self.read(images)
        return (w_plus, semantic_variables), semantic_variables

    def decode(
        self,
        code: tuple[Float[Array, "b n d"], Float[Array, "b a"]],
        semantic_variables: Float[Array, "b a"],
    ) -> Float[Array, "b n d"]:
        """The latents moved by what is wanted less what was read."""
        w_plus, read = code
        return self.mover(w_plus, semantic_variables - read)


def export_editing(
    workdir: str | os.PathLike[str],
    method: str,
    editing: LatentEditing,
    *,
    mover_arguments: Mapping[str, Any],
    reader_arguments: Mapping[str, Any],
    step: int | None = None,
) -> pathlib.Path:
    """Write what `LatentEditing.from_workdir` reads, below `workdir/method`; return that directory.

    Args:
      workdir: the run's directory.
      method: the name of the method.
      editing: mover and reader.
      mover_arguments: constructor arguments of the mover.
      reader_arguments: constructor arguments of the reader.
      step: steps trained, kept as a note; None where a method takes none.
    """
    directory = pathlib.Path(workdir) / method
    notes = {} if step is None else {"step": str(step)}
    save_reader(directory, editing.semantic_encoder, reader_arguments, {**editing.notes, **notes})
    # Last: a directory that holds it is complete.
    networks.save_network(directory / MOVER_FILE, editing.mover, mover_arguments, notes=notes)
    return directory
