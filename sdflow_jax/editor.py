"""Editing faces with whatever a training run has produced (upstream `models/editor.py`)."""

import os
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from sdflow_jax.files.roles import load_role
from sdflow_jax.files.run_config import check_contents, load_config
from sdflow_jax.images.batching import map_batches
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.images.resizing import crop_and_resize
from sdflow_jax.methods.method import EditingMethod, SamplingMethod
from sdflow_jax.methods.registry import load_method
from sdflow_jax.methods.sdflow.editing import FlowEditing
from sdflow_jax.models.synthesis import faces_of


@jax.jit
def _invert(encoder, images):
    return encoder(crop_and_resize(images, encoder.image_size))


_synthesize = jax.jit(faces_of)


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
      method: the editing method, which also has `read(images)`.
      generator: the face generator.
      inversion_encoder: maps images to W+ latents; None where there is none, and `invert` fails.
      batch_size: faces per pass.
    """

    def __init__(
        self,
        method: EditingMethod,
        generator: nnx.Module,
        inversion_encoder: nnx.Module | None,
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
        files = {role: f"{world}:{role}" for role in ("generator", "inversion_encoder")}
        return cls(method, *(load_role(files, role) for role in files), batch_size=batch_size)

    @classmethod
    def from_workdir(cls, workdir: str | os.PathLike[str], *, batch_size: int = 8) -> "Editor":
        """The editor that a training run has produced, whichever its config's method is.

        Raises:
          FileNotFoundError: if the directory holds no run.
          NetworkFileError: if the run has exported no networks yet, or a network of its config is
            gone.
          ConfigError: if its generator or inversion encoder has been replaced by another.
        """
        config = load_config(workdir)
        check_contents(config, ("generator", "inversion_encoder"))
        files = config["networks"]
        return cls(
            load_method(workdir),
            load_role(files, "generator"),
            load_role(files, "inversion_encoder") if files.get("inversion_encoder") else None,
            batch_size=batch_size,
        )

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the semantic variables, in the order of their columns."""
        return self.method.attributes

    def invert(
        self, images: Float[Array, "b h w 3"] | UInt8[Array, "b h w 3"]
    ) -> Float[np.ndarray, "b n d"]:
        """W+ latents whose synthesis looks like the images.

        Raises:
          ValueError: if there is no inversion encoder.
        """
        if self.inversion_encoder is None:
            raise ValueError(
                "this run has no inversion encoder, so it can edit latents but invert no images;"
                " set config.networks.inversion_encoder"
            )
        return self._run(lambda x: _invert(self.inversion_encoder, x), _pixels(images))

    def read(
        self, images: Float[Array, "b h w 3"] | UInt8[Array, "b h w 3"]
    ) -> Float[np.ndarray, "b a"]:
        """Semantic variables of images, each in [0, 1]; `attributes` names the columns."""
        return self._run(lambda x: _read(self.method, x), _pixels(images))

    def synthesize(self, w_plus: Float[Array, "b n d"]) -> Float[np.ndarray, "b r r 3"]:
        """Images of W+ latents in [-1, 1], with the generator's fixed noise."""
        return self._run(lambda w: _synthesize(self.generator, w), w_plus)

    def edit(
        self,
        w_plus: Float[Array, "b n d"],
        images: Float[Array, "b h w 3"] | UInt8[Array, "b h w 3"] | None,
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
        """New faces with these semantic variables: z ~ N(0, I), through flow and generator.

        Raises:
          TypeError: if the method is no flow: only a flow knows a distribution of faces.
        """
        if not isinstance(self.method, SamplingMethod):
            raise TypeError(
                f"{type(self.method).__name__} edits faces but cannot sample them; a flow can"
            )
        semantic_variables = np.asarray(semantic_variables, np.float32)
        num_rows = self.method.num_rows or self.generator.num_styles
        shape = (len(semantic_variables), num_rows, self.method.code_dim)
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
