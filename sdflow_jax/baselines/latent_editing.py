"""Editing by moving the latent itself: InterFaceGAN and the Latent Transformer.

Both find a change of the latent for each attribute. The common interface asks for semantic
variables instead, so a rule must say how far a wish goes: both read the face's semantic variables s
with the frozen classifier C, and a wish s_hat moves the latent by (s_hat - s) times the attribute's
change. Nothing wished changes nothing; twice the wish goes twice as far.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax import networks
from sdflow_jax.baselines.latent_transformer import LatentTransformer
from sdflow_jax.flow_editing import load_reader, reader_title
from sdflow_jax.resizing import crop_and_resize
from sdflow_jax.training import export

MOVER_FILE = "editing.safetensors"
READER_FILE = "semantic_encoder.safetensors"

# The config's method -> the registry name of what moves the latents.
MOVERS = {"interfacegan": "AttributeDirections", "latent_transformer": "AttributeTransformers"}


class AttributeDirections(nnx.Module):
    """InterFaceGAN's editing: one direction in W+ for each attribute, the same for every face.

    Args:
      num_attributes: number of directions.
      num_styles: n, rows of the code.
      style_dim: d, length of a row.
      rngs: unused; the directions begin as zero.
    """

    def __init__(self, num_attributes: int, num_styles: int, style_dim: int, *, rngs: nnx.Rngs):
        del rngs  # zeros need no draw
        self.directions = nnx.Param(jnp.zeros((num_attributes, num_styles, style_dim)))

    def __call__(
        self, w_plus: Float[Array, "b n d"], change: Float[Array, "b a"]
    ) -> Float[Array, "b n d"]:
        """`w_plus + sum_k change_k direction_k`."""
        return w_plus + jnp.einsum("ba,and->bnd", change, self.directions[...])


class AttributeTransformers(nnx.Module):
    """The Latent Transformer's editing: one transformer for each attribute, applied in turn.

    Args:
      num_attributes: number of transformers.
      num_styles: n, rows of the code.
      style_dim: d, length of a row.
      rngs: seeds the weights.
    """

    def __init__(self, num_attributes: int, num_styles: int, style_dim: int, *, rngs: nnx.Rngs):
        self.transformers = nnx.List(
            [LatentTransformer(num_styles, style_dim, rngs=rngs) for _ in range(num_attributes)]
        )

    def __call__(
        self, w_plus: Float[Array, "b n d"], change: Float[Array, "b a"]
    ) -> Float[Array, "b n d"]:
        """Several attributes one after the other, each from where the last has led (as upstream)."""
        for index, transformer in enumerate(self.transformers):
            w_plus = transformer(w_plus, change[:, index])
        return w_plus


class LatentEditing(nnx.Module):
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
        self.mover = mover
        self.semantic_encoder = semantic_encoder
        self.attributes = tuple(attributes)
        self.image_size = image_size

    @classmethod
    def from_workdir(cls, workdir: str | os.PathLike[str], method: str) -> "LatentEditing":
        """Load what the training of "interfacegan" or "latent_transformer" has exported.

        Raises:
          NetworkFileError: if the run has exported nothing yet.
        """
        directory = export.exported(workdir, method)
        encoder, attributes, image_size = load_reader(directory / READER_FILE)
        mover = networks.load_network(directory / MOVER_FILE, expected=MOVERS[method])
        return cls(mover, encoder, attributes=attributes, image_size=image_size)

    @property
    def reader(self) -> str:
        """What reads the semantic variables, in words."""
        return reader_title(self.semantic_encoder)

    def read(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b a"]:
        """Semantic variables of images in [-1, 1], each in [0, 1]."""
        return self.semantic_encoder(crop_and_resize(images, self.image_size))

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
        """The latents moved by what is wished less what was read."""
        w_plus, read = code
        return self.mover(w_plus, semantic_variables - read)


def export_editing(
    workdir: str | os.PathLike[str],
    method: str,
    editing: LatentEditing,
    reader_arguments: Mapping[str, Any],
) -> pathlib.Path:
    """Write what `LatentEditing.from_workdir` reads, below `workdir/method`; return that directory.

    Args:
      workdir: the run's directory.
      method: "interfacegan" or "latent_transformer".
      editing: mover and reader.
      reader_arguments: constructor arguments of the reader.
    """
    directory = pathlib.Path(workdir) / method
    notes = {"attributes": ",".join(editing.attributes), "image_size": str(editing.image_size)}
    reader = editing.semantic_encoder
    networks.save_network(directory / READER_FILE, reader, reader_arguments, notes=notes)
    # Last: a directory that holds it is complete.
    networks.save_network(directory / MOVER_FILE, editing.mover, _arguments(editing.mover))
    return directory


def _arguments(mover: nnx.Module) -> dict[str, int]:
    if isinstance(mover, AttributeDirections):
        shape = mover.directions.shape
    else:
        first = mover.transformers[0]
        shape = (len(mover.transformers), first.num_styles, first.style_dim)
    return dict(zip(("num_attributes", "num_styles", "style_dim"), shape, strict=True))
