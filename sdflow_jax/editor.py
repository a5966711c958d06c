"""Editing faces with a trained SDFlow (Li et al. 2024; upstream `models/editor.py`)."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from sdflow_jax import networks
from sdflow_jax.batching import map_batches
from sdflow_jax.config import load_config
from sdflow_jax.data.attribute_names import attribute_names
from sdflow_jax.data.pixels import to_signed
from sdflow_jax.flow.conditional_flow import ConditionalFlow
from sdflow_jax.flow.solve import SolverSettings
from sdflow_jax.resizing import crop_and_resize
from sdflow_jax.training import export


class FlowEditing(nnx.Module):
    """SDFlow's way to edit: out of W+ under the face's own semantic variables, back under the
    wanted ones.

    An `EditingMethod`: `encode` depends on the face alone and is done once, `decode` once per edit.

    Args:
      flow: the conditional flow.
      semantic_encoder: reads semantic variables off images of `image_size` pixels.
      attributes: names of the semantic variables.
      image_size: side of the semantic encoder's input.
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
        solver: SolverSettings | None = None,
    ):
        if flow.num_conditions != len(attributes):
            raise ValueError(
                f"the flow has {flow.num_conditions} conditions, but {len(attributes)} attributes"
                f" are named ({', '.join(attributes)})"
            )
        self.flow = flow
        self.semantic_encoder = semantic_encoder
        self.attributes = tuple(attributes)
        self.image_size = image_size
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
        notes = networks.read_metadata(semantic_encoder)
        for note in ("attributes", "image_size"):
            if not notes.get(note):
                raise networks.NetworkFileError(
                    f"{semantic_encoder}: the file lacks the note {note!r}; training writes it, for"
                    " converted weights give it to `networks.save_network(..., notes=...)`"
                )
        trained_flow = networks.load_network(flow, expected="ConditionalFlow")
        return cls(
            trained_flow,
            networks.load_network(semantic_encoder, expected="SemanticEncoder"),
            attributes=attribute_names(notes),
            image_size=int(notes["image_size"]),
            solver=SolverSettings.create({**trained_flow.solver.to_dict(), **(solver or {})}),
        )

    @classmethod
    def from_workdir(
        cls, workdir: str | os.PathLike[str], *, solver: Mapping[str, Any] | None = None
    ) -> "FlowEditing":
        """Load the networks that a training run has exported; otherwise as `load`."""
        directory = pathlib.Path(workdir) / export.DIRECTORY
        if not directory.is_dir():
            raise networks.NetworkFileError(
                f"{directory}: no such directory; has the training in {workdir} finished?"
            )
        files = (directory / f"{name}.safetensors" for name in ("flow", "semantic_encoder"))
        return cls.load(*files, solver=solver)

    def read(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b a"]:
        """Semantic variables of images in [-1, 1], each in [0, 1]."""
        return self.semantic_encoder(crop_and_resize(images, self.image_size))

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


@jax.jit
def _invert(encoder, images):
    return encoder(crop_and_resize(images, encoder.image_size))


@jax.jit
def _synthesize(generator, w_plus):
    return jnp.clip(generator.synthesize(w_plus[:, : generator.num_styles]), -1.0, 1.0)


@jax.jit
def _read(method, images):
    return method.read(images)


@jax.jit
def _edit(method, w_plus, images, targets, is_edited):
    code, semantic_variables = method.encode(w_plus, images)
    return method.decode(code, jnp.where(is_edited, targets, semantic_variables))


@jax.jit
def _decode(method, code, semantic_variables):
    return method.decode(code, semantic_variables)


class Editor:
    """Inverts, reads, edits, synthesizes and samples faces, any number at a time.

    Images are [b, R, R, 3], either float in [-1, 1] or 8-bit, and are resized to what each network
    takes. Results are numpy arrays. Faces pass through the networks `batch_size` at a time, a
    shorter batch being filled up, so that every method is compiled once. The faces of a batch share
    the solver's steps: a face's result depends on its neighbors within the solver's tolerance.

    Args:
      method: the trained flow with its semantic encoder.
      generator: the face generator.
      inversion_encoder: maps images to W+ latents.
      batch_size: faces per pass.
    """

    def __init__(
        self,
        method: FlowEditing,
        generator: nnx.Module,
        inversion_encoder: nnx.Module,
        *,
        batch_size: int = 8,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.method = method
        self.generator = generator
        self.inversion_encoder = inversion_encoder
        self.batch_size = batch_size

    @classmethod
    def from_pretrained(cls, world: str = "pocket", *, batch_size: int = 8) -> "Editor":
        """The editor of a packaged world, e.g. "pocket".

        Raises:
          NetworkFileError: if the world is unknown or lacks a network.
        """
        method = FlowEditing.load(f"{world}:flow", f"{world}:semantic_encoder")
        generator = networks.load_network(f"{world}:generator", expected="Generator")
        encoder = networks.load_network(f"{world}:inversion_encoder", expected="InversionEncoder")
        return cls(method, generator, encoder, batch_size=batch_size)

    @classmethod
    def from_workdir(cls, workdir: str | os.PathLike[str], *, batch_size: int = 8) -> "Editor":
        """The editor that a training run has produced.

        Raises:
          FileNotFoundError: if the directory holds no run.
          NetworkFileError: if the run has exported no networks yet, or a network of its config is
            gone.
        """
        files = load_config(workdir)["networks"]
        return cls(
            FlowEditing.from_workdir(workdir),
            networks.load_network(files["generator"], expected="Generator"),
            networks.load_network(files["inversion_encoder"], expected="InversionEncoder"),
            batch_size=batch_size,
        )

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the semantic variables, in the order of their columns."""
        return self.method.attributes

    def invert(self, images: Float[Array, "b h w 3"]) -> Float[np.ndarray, "b n d"]:
        """W+ latents whose synthesis looks like the images."""
        return self._run(lambda x: _invert(self.inversion_encoder, x), _pixels(images))

    def read(self, images: Float[Array, "b h w 3"]) -> Float[np.ndarray, "b a"]:
        """Semantic variables of images, each in [0, 1]; `attributes` names the columns."""
        return self._run(lambda x: _read(self.method, x), _pixels(images))

    def synthesize(self, w_plus: Float[Array, "b n d"]) -> Float[np.ndarray, "b r r 3"]:
        """Images of W+ latents in [-1, 1], with the generator's fixed noise."""
        return self._run(lambda w: _synthesize(self.generator, w), w_plus)

    def edit(
        self,
        w_plus: Float[Array, "b n d"],
        images: Float[Array, "b h w 3"] | None,
        targets: Mapping[str, float | Float[Array, " b"]],
    ) -> Float[np.ndarray, "b n d"]:
        """Latents of the same faces with some semantic variables set, the others as read from the
        images.

        Args:
          w_plus: the faces' latents.
          images: the faces, from which the present semantic variables are read; None reads their
            synthesis.
          targets: attribute name -> wanted value, one number or one per face. 0 and 1 are the ends
            of the range that training covers; values beyond extrapolate (upstream's demo goes to
            -0.2 and 1.2).

        Raises:
          ValueError: for an unknown attribute or a target that is not finite.
          FloatingPointError: if the differential equation could not be solved.
        """
        w_plus = np.asarray(w_plus)
        images = self.synthesize(w_plus) if images is None else _pixels(images)
        wanted = np.zeros((len(w_plus), len(self.attributes)), np.float32)
        is_edited = np.zeros(wanted.shape, bool)
        for name, value in targets.items():
            if name not in self.attributes:
                raise ValueError(
                    f"unknown attribute {name!r}; this editor knows {', '.join(self.attributes)}"
                )
            if not np.all(np.isfinite(value)):
                raise ValueError(f"the target of {name} must be finite, got {value}")
            wanted[:, self.attributes.index(name)] = value
            is_edited[:, self.attributes.index(name)] = True
        edited = self._run(
            lambda *arrays: _edit(self.method, *arrays), w_plus, images, wanted, is_edited
        )
        return _solved(edited)

    def sample(
        self, semantic_variables: Float[Array, "b a"], key: jax.Array
    ) -> Float[np.ndarray, "b r r 3"]:
        """New faces with these semantic variables: z ~ N(0, I), through flow and generator."""
        semantic_variables = np.asarray(semantic_variables, np.float32)
        shape = (len(semantic_variables), self.inversion_encoder.num_styles, self.method.flow.dim)
        code = jax.random.normal(key, shape)
        w_plus = self._run(lambda *x: _decode(self.method, *x), code, semantic_variables)
        return self.synthesize(_solved(w_plus))

    def _run(self, function, *arrays):
        return map_batches(function, self.batch_size, *arrays)


def _pixels(images) -> Float[np.ndarray, "b h w 3"]:
    """Images as float32 in [-1, 1]; 8-bit ones are converted."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise ValueError(f"expected square RGB images [b, R, R, 3], got shape {images.shape}")
    if images.dtype == np.uint8:
        return np.asarray(to_signed(images))
    if not np.issubdtype(images.dtype, np.floating) or np.abs(images).max(initial=0.0) > 1.001:
        raise ValueError(
            f"expected 8-bit images or floats in [-1, 1], got {images.dtype} up to"
            f" {images.max():g}; pass uint8 pixels as they are"
        )
    return images.astype(np.float32)


def _solved(latents: Float[np.ndarray, "b n d"]) -> Float[np.ndarray, "b n d"]:
    if not np.isfinite(latents).all():
        raise FloatingPointError(
            "the flow's differential equation could not be solved for these targets;"
            " choose them closer to [0, 1], or give the solver more steps or looser tolerances"
        )
    return latents
