"""What a method offers: a way to edit faces, and the room that checks, trains and loads it."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float

from sdflow_jax.data.settings import DataSettings
from sdflow_jax.files.config_groups import Group
from sdflow_jax.training.interrupts import Interrupts


class EditingMethod(Protocol):
    """A way to edit faces in W+, in two steps: what depends on the face alone, and what on the
    target.

    Both steps are pure and run inside `jax.jit`; the method itself is passed as an argument, so it
    must be a pytree (an `nnx.Module` is one). The first step runs once per face, the second once
    per face and edit.

    Attributes:
      attributes: the names of the semantic variables, in the order of their columns.
      reader: what reads the semantic variables, in words.
      image_size: side in pixels at which faces are read; images of any other size are resized.
    """

    attributes: tuple[str, ...]
    reader: str
    image_size: int

    def read(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b a"]:
        """Semantic variables of images in [-1, 1], each in [0, 1]."""
        ...

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
          Edited latents; NaN where an edit could not be computed. A flow solves one equation for all rows
          of a batch, and cannot tell which of them was at fault: there all are NaN.
        """
        ...


@runtime_checkable
class SamplingMethod(EditingMethod, Protocol):
    """An editing method that knows a distribution of faces: the codes of faces are N(0, I), and
    `decode` of a draw is a new face.

    Attributes:
      code_dim: d, the size of each of a code's n rows [b, n, d].
      num_rows: n of the codes that the distribution was learned of: 1 where one row stands for all
        styles; None for as many as the generator has styles.
    """

    code_dim: int
    num_rows: int | None


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What a config says, for whatever method.

    Attributes:
      method: a key of `METHODS`.
      seed: of weights, batches and all randomness.
      attributes: names of the semantic variables, in the order of their columns.
      networks: role -> network file; empty for a role that nobody plays.
      data: the faces.
      matmul_precision: of float32 products, "default" or "float32".
      compilation_cache: directory of compiled programs, as by `keep_compiled_programs`: "off" for
        none, empty for the user's.
      own: what the method's `read` has returned; None where it was not asked.
      keys: dotted names of all that was read of the config, on which alone the run depends.
    """

    method: str
    seed: int
    attributes: tuple[str, ...]
    networks: Mapping[str, str]
    data: DataSettings
    matmul_precision: str
    compilation_cache: str
    own: Any
    keys: frozenset[str]


class Method(Protocol):
    """A method's room: everything that the rest of the package asks of it.

    Its module holds nothing heavy, so that a config can be checked, or a network of one method
    loaded, without the training code of all of them.

    Attributes:
      networks: name in a network file -> "module:class", of networks that no other method uses.
      exports: names of the network files in `WORKDIR/METHOD` that are written last: where they are,
        the run is finished.
    """

    networks: Mapping[str, str]
    exports: tuple[str, ...]

    def read(self, config: Group) -> Any:
        """The settings that this method alone reads of a config; their mistakes are the group's."""
        ...

    def train(
        self,
        settings: RunSettings,
        workdir: pathlib.Path,
        dataset: pathlib.Path,
        interrupts: Interrupts,
    ) -> None:
        """Train from the beginning or from the last checkpoint, and export what `load` reads.

        Args:
          settings: of the run, with this method's own.
          workdir: the run's directory.
          dataset: the prepared faces, as by `prepare_data`.
          interrupts: entered.

        Raises:
          RunCheckpointError: if a checkpoint does not fit.
          TrainingDiverged: if several steps in a row gave numbers that are not finite, or equations
            that were not solved.
        """
        ...

    def load(self, workdir: str | os.PathLike[str]) -> EditingMethod:
        """The editing method that a finished run has left.

        Raises:
          NetworkFileError: if the run has exported nothing yet.
        """
        ...
