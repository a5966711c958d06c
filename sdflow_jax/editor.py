"""Editing faces with whatever a training run has produced (upstream `models/editor.py`)."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from sdflow_jax.files import networks
from sdflow_jax.files.renderers import find_larger
from sdflow_jax.files.roles import load_role
from sdflow_jax.files.run_config import check_contents, load_method_config
from sdflow_jax.images.batching import map_batches
from sdflow_jax.images.inputs import Images, as_faces
from sdflow_jax.images.pixels import to_bytes
from sdflow_jax.images.precision import in_float32
from sdflow_jax.images.resizing import crop_and_resize
from sdflow_jax.methods.method import EditingMethod, SamplingMethod
from sdflow_jax.methods.registry import load_method
from sdflow_jax.methods.sdflow.editing import FlowEditing
from sdflow_jax.methods.solved import require_pictures, require_solved
from sdflow_jax.methods.targets import check_targets, wanted_variables
from sdflow_jax.models.face_identity import FaceIdentity, load_face_identity
from sdflow_jax.models.refinement import Refinement, Whitening, continue_refinement
from sdflow_jax.models.style_space import seeded_normal
from sdflow_jax.models.synthesis import faces_of

_RENDERED_SIZE = 256
_SMALLEST_SIZE = 16
_STEPS_BETWEEN_REPORTS = 5
_RENDERED_SHARE = 0.2  # of the steps of a refinement


@jax.jit
def _invert(encoder, images):
    return encoder(crop_and_resize(images, encoder.image_size))


@functools.partial(jax.jit, static_argnames="size")
def _synthesize(generator, w_plus, size):
    return faces_of(generator, w_plus, size=size)


_map = jax.jit(lambda generator, z, truncation: generator.truncate(generator.map(z), truncation))


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


class Program(NamedTuple):
    """One call of an editor.

    Attributes:
      function: by `jax.jit`.
      network: its first argument.
      arrays: those that follow, zeros of their shapes.
      options: those that are compiled in.
    """

    function: Any
    network: Any
    arrays: tuple[np.ndarray, ...]
    options: Mapping[str, Any] = {}


def _find_identity(path: str | None) -> FaceIdentity | None:
    """A run's identity encoder, if its file is still there: the run itself has no need of it."""
    return load_face_identity(path) if path and networks.resolve(path).exists() else None


class Editor:
    """Inverts, reads, edits, synthesizes and samples faces, any number at a time (upstream
    `models/editor.py`, here for any method).

    editor = Editor.from_pretrained("pocket")
    picture = editor("photo.png", {"Eyeglasses": 1.0})  # [R, R, 3], uint8

    Images are given as a Pillow image, a path, an array [R, R, 3], a list of these, or an array
    [b, R, R, 3]; arrays are 8-bit or floats in [-1, 1]. All show aligned faces, and are square; they
    are resized to what each network takes. Latents are [n, d] or [b, n, d], with n = 1 where one row
    stands for all styles. Results are numpy arrays: of one face given by itself, without the axis
    b, which several have. NaN, and codes that the generator would not take, are refused.

    Faces pass through the networks `batch_size` at a time, a shorter batch being filled up, so that
    every method is compiled once. The faces of a batch share the solver's steps: a face's result
    depends on its neighbors within the solver's tolerance.

    Args:
      method: the editing method, which also has `read(images)`.
      generator: the face generator.
      inversion_encoder: maps images to W+ latents; None where there is none, and `invert` fails.
      renderer: a larger generator for the same latents, which `synthesize` shows faces with; None
        for `generator`. Whatever is read from a face is read from `generator`'s.
      identity: maps images to identity embeddings, for `invert` to keep the person with
        `num_steps`; None leaves that to the pixels.
      batch_size: faces per pass.

    Raises:
      ValueError: if the networks' latents differ in shape.
    """

    def __init__(
        self,
        method: EditingMethod,
        generator: nnx.Module,
        inversion_encoder: nnx.Module | None,
        *,
        renderer: nnx.Module | None = None,
        identity: FaceIdentity | None = None,
        batch_size: int = 8,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        shape = _latent_shape(generator)
        for name, network in (("inversion encoder", inversion_encoder), ("renderer", renderer)):
            if network is not None and _latent_shape(network) != shape:
                raise ValueError(
                    f"the generator takes latents of shape {shape}, the {name} has"
                    f" {_latent_shape(network)}; they belong to two different worlds"
                )
        self.method = method
        self.generator = generator
        self.inversion_encoder = inversion_encoder
        self.renderer = renderer
        self.identity = identity
        self.batch_size = batch_size

    @classmethod
    def from_pretrained(cls, world: str = "pocket", *, batch_size: int = 8) -> "Editor":
        """The editor of a packaged world, e.g. "pocket", with its renderer where that is installed.

        Args:
          world: its name; there is one, "pocket".
          batch_size: faces per pass.

        Raises:
          NetworkFileError: if the world is unknown or lacks a network.
        """
        if world not in networks.PACKAGED_WORLDS:
            raise networks.NetworkFileError(
                f"{world!r} is no packaged world; there is {', '.join(networks.PACKAGED_WORLDS)}."
                " Editor.from_files takes your own networks, Editor.from_workdir those of a training run"
            )
        roles = ("generator", "inversion_encoder", "flow", "semantic_encoder", "identity_encoder")
        return cls.from_files(**{role: f"{world}:{role}" for role in roles}, batch_size=batch_size)

    @classmethod
    def from_files(
        cls,
        *,
        generator: str | os.PathLike[str],
        inversion_encoder: str | os.PathLike[str],
        flow: str | os.PathLike[str],
        semantic_encoder: str | os.PathLike[str],
        identity_encoder: str | os.PathLike[str] = "",
        batch_size: int = 8,
    ) -> "Editor":
        """The editor of network files, e.g. converted from the original's checkpoints.

        Args:
          generator: the face generator.
          inversion_encoder: e4e or pSp.
          flow: the conditional flow.
          semantic_encoder: its file names attributes and image size (`python -m converters` with
            `--attributes` and `--image-size`).
          identity_encoder: e.g. ArcFace, which helps `invert` to keep the person; "" for none.
          batch_size: faces per pass.

        Raises:
          NetworkFileError: if a file is missing, damaged or of another kind.
          ValueError: if they do not belong together.
        """
        files = {"generator": str(generator), "inversion_encoder": str(inversion_encoder)}
        identity = load_face_identity(identity_encoder) if identity_encoder else None
        return cls._of(FlowEditing.load(flow, semantic_encoder), files, identity, batch_size)

    @classmethod
    def from_workdir(cls, workdir: str | os.PathLike[str], *, batch_size: int = 8) -> "Editor":
        """The editor that a training run has produced, whichever its config's method is.

        The config's identity encoder helps `invert` where its file is still there; editing needs none.

        Args:
          workdir: the `--workdir` of the run.
          batch_size: faces per pass.

        Raises:
          FileNotFoundError: if the directory holds no run.
          NetworkFileError: if the run has exported no networks yet, or a network of its config is
            gone.
          ConfigError: if its generator or inversion encoder has been replaced by another, or it has
            trained no method.
        """
        config = load_method_config(workdir)
        check_contents(config, ("generator", "inversion_encoder"))
        files = config["networks"]
        identity = _find_identity(files.get("identity_encoder"))
        return cls._of(load_method(workdir), files, identity, batch_size)

    @classmethod
    def _of(
        cls,
        method: EditingMethod,
        files: Mapping[str, str],
        identity: FaceIdentity | None,
        batch_size: int,
    ) -> "Editor":
        generator = load_role(files, "generator")
        return cls(
            method,
            generator,
            load_role(files, "inversion_encoder") if files.get("inversion_encoder") else None,
            renderer=find_larger(files["generator"], generator),
            identity=identity,
            batch_size=batch_size,
        )

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the semantic variables, in the order of their columns."""
        return self.method.attributes

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides in pixels of the pictures that `synthesize` can make, ascending."""
        largest = (self.renderer or self.generator).resolution
        return tuple(size for size in _halvings(largest) if size >= _SMALLEST_SIZE)[::-1]

    @property
    def picture_size(self) -> int:
        """To which side pictures of any size are brought: no network here takes more."""
        sizes = [self.generator.resolution, self.method.image_size]
        if self.inversion_encoder is not None:
            sizes.append(self.inversion_encoder.image_size)
        return max(sizes)

    def __call__(
        self,
        images: Images,
        targets: Mapping[str, float | Float[Array, " b"]],
        *,
        num_steps: int = 0,
        size: int | None = None,
    ) -> UInt8[np.ndarray, "*b s s 3"]:
        """The same faces with some semantic variables set: `invert`, `edit`, `synthesize`.

        Args:
          images: faces, in any form.
          targets: attribute name -> wanted value, nominally in [0, 1]; see `edit`.
          num_steps: of refining the inversion; see `invert`.
          size: side of the pictures in pixels; see `synthesize`.

        Returns:
          8-bit pictures.

        Raises:
          ValueError, ImageFileError, FloatingPointError: as those three do.
        """
        # Before the inversion, which takes long.
        side = self._side(size)
        check_targets(targets, self.attributes)
        w_plus = self.invert(images, num_steps=num_steps)
        edited, is_single = self._codes(self.edit(w_plus, images, targets))
        # A batch at a time: many large faces have a quarter of the bytes so.
        faces = self._drawn(edited, side, lambda x: to_bytes(require_pictures(np.asarray(x))))
        return faces[0] if is_single else faces

    @in_float32
    def compile(self, *, size: int | None = None) -> None:
        """Compile what `invert`, `edit` and `synthesize` run for pictures of files, side by side on as
        many cores, before the first face would wait for one after the other.

        Args:
          size: of the pictures to come; see `synthesize`.

        Raises:
          ValueError: for a size that `synthesize` does not make.
        """
        programs = self.programs(size=size).values()
        # Tracing is Python's and so one by one; XLA compiles beside it. The calls that come find the
        # programs in jax's own memory.
        with concurrent.futures.ThreadPoolExecutor(len(programs)) as pool:
            lowered = (x.function.lower(x.network, *x.arrays, **x.options) for x in programs)
            for future in [pool.submit(in_float32(program.compile)) for program in lowered]:
                future.result()

    def programs(self, *, size: int | None = None) -> dict[str, Program]:
        """What `invert` (where it can), `edit` and `synthesize` run for pictures of files, by those names,
        the longest to compile first.

        Args:
          size: of the pictures to come; see `synthesize`.

        Raises:
          ValueError: for a size that `synthesize` does not make.
        """
        batch_size, side, options = self.batch_size, self.picture_size, {"size": self._side(size)}
        faces = np.zeros((batch_size, side, side, 3), np.float32)
        w_plus = np.zeros((batch_size, *_latent_shape(self.generator)), np.float32)
        nothing = wanted_variables({}, self.attributes, batch_size)
        programs = {"edit": Program(_edit, self.method, (w_plus, faces, *nothing))}
        if self.renderer is None:
            programs["synthesize"] = Program(_synthesize, self.generator, (w_plus,), options)
        else:
            programs["synthesize"] = Program(_synthesize, self.renderer, (w_plus[:1],), options)
        if self.inversion_encoder is not None:
            programs["invert"] = Program(_invert, self.inversion_encoder, (faces,))
        return programs

    @in_float32
    def invert(
        self,
        images: Images,
        *,
        num_steps: int = 0,
        report: Callable[[int, int], None] | None = None,
    ) -> Float[np.ndarray, "*b n d"]:
        """W+ latents whose synthesis looks like the images.

        Args:
          images: faces, in any form.
          num_steps: steps of `refine_codes` from what the encoder finds, each about as much work
            as three syntheses, the last fifth by the renderer where there is one; 100 find most of
            what there is to find, 0 leaves it.
          report: called during the refinement with the steps done and those to do, of each batch.

        Raises:
          ValueError: for images that are no faces' (see `as_faces`), a negative number of steps, or
            if there is no inversion encoder.
          ImageFileError: if a picture cannot be read.
        """
        if self.inversion_encoder is None:
            raise ValueError(
                "this run has no inversion encoder, so it can edit latents but invert no images;"
                " set config.networks.inversion_encoder"
            )
        if num_steps < 0:
            raise ValueError(f"num_steps must be at least 0, got {num_steps}")
        faces, is_single = as_faces(images, self.picture_size)
        w_plus = self._run(lambda x: _invert(self.inversion_encoder, x), faces)
        if num_steps:
            w_plus = map_batches(
                lambda *x: self._refined(*x, num_steps, report),
                min(self.batch_size, len(faces)),  # filling a batch up would cost as much again
                w_plus,
                faces,
            )
        return w_plus[0] if is_single else w_plus

    @in_float32
    def read(self, images: Images) -> Float[np.ndarray, "*b a"]:
        """Semantic variables of images, each in [0, 1]; `attributes` names the columns.

        Args:
          images: faces, in any form.

        Raises:
          ValueError, ImageFileError: as `invert`.
        """
        faces, is_single = as_faces(images, self.picture_size)
        read = self._run(lambda x: _read(self.method, x), faces)
        return read[0] if is_single else read

    @in_float32
    def synthesize(
        self, w_plus: Float[Array, "*b n d"], *, size: int | None = None
    ) -> Float[np.ndarray, "*b s s 3"]:
        """Images of W+ latents in [-1, 1], with the generator's fixed noise.

        Args:
          w_plus: latents of faces.
          size: side of the images in pixels, one of `sizes`. None for 256 where there is a renderer
            (or its own, if that is less), and otherwise for the generator's own.

        Raises:
          ValueError: for latents that are not the generator's or not finite, or another size.
          FloatingPointError: for latents so far from all faces that their pictures are NaN.
        """
        w_plus, is_single = self._codes(w_plus)
        faces = require_pictures(self._drawn(w_plus, self._side(size), lambda x: x))
        return faces[0] if is_single else faces

    def _drawn(
        self, w_plus: np.ndarray, size: int, finish: Callable[[jax.Array], Any]
    ) -> np.ndarray:
        """The faces of latents, each batch as `finish` leaves it."""
        if self.renderer is None:
            return self._run(lambda w: finish(_synthesize(self.generator, w, size=size)), w_plus)
        # One by one: large pictures gain nothing from a batch, and lose by filling it up.
        return map_batches(lambda w: finish(_synthesize(self.renderer, w, size=size)), 1, w_plus)

    @in_float32
    def generate(self, w_plus: Float[Array, "*b n d"]) -> Float[np.ndarray, "*b r r 3"]:
        """The generator's own images of latents, in [-1, 1], whatever they are shown with: those from
        which a face's semantic variables are read.

        Args:
          w_plus: latents of faces.

        Raises:
          ValueError: for latents that are not the generator's or not finite.
        """
        w_plus, is_single = self._codes(w_plus)
        size = self.generator.resolution
        faces = self._run(lambda w: _synthesize(self.generator, w, size=size), w_plus)
        return faces[0] if is_single else faces

    @in_float32
    def edit(
        self,
        w_plus: Float[Array, "*b n d"],
        images: Images | None,
        targets: Mapping[str, float | Float[Array, " b"]],
    ) -> Float[np.ndarray, "*b n d"]:
        """Latents of the same faces with some semantic variables set, the others as read from the
        images.

        Args:
          w_plus: the faces' latents.
          images: the faces, from which the present semantic variables are read; None reads the
            generator's images of the latents.
          targets: attribute name -> wanted value, one number or one per face. 0 and 1 are the ends
            of the range that training covers; values beyond extrapolate (upstream's demo goes to
            -0.2 and 1.2).

        Raises:
          ValueError: for an unknown attribute, a target that is no finite number, latents that are not
            finite or not the generator's, or another number of images.
          FloatingPointError: if the differential equation could not be solved.

        Warns:
          UserWarning: about a target beyond -1 or 2, where faces fall apart.
        """
        w_plus, is_single = self._codes(w_plus)
        wanted, is_edited = wanted_variables(targets, self.attributes, len(w_plus))
        if images is None:
            faces = self.generate(w_plus)
        else:
            faces, _ = as_faces(images, self.picture_size)
        if len(faces) != len(w_plus):
            raise ValueError(f"got {len(w_plus)} latents of faces and {len(faces)} images")
        edited = self._run(
            lambda *arrays: _edit(self.method, *arrays), w_plus, faces, wanted, is_edited
        )
        edited = require_solved(edited)
        return edited[0] if is_single else edited

    @in_float32
    def sample(
        self, semantic_variables: Float[Array, "*b a"], key: jax.Array
    ) -> Float[np.ndarray, "*b r r 3"]:
        """New faces with these semantic variables: z ~ N(0, I), through flow and generator.

        Args:
          semantic_variables: nominally in [0, 1], a row for each face; or [a] for one.
          key: of the random codes.

        Returns:
          Images in [-1, 1], as `synthesize` makes them.

        Raises:
          TypeError: if the method is no flow: only a flow knows a distribution of faces.
          ValueError: if the semantic variables of a face are not finite, or not as many as
            `attributes`.
          FloatingPointError: if the differential equation could not be solved.
        """
        if not isinstance(self.method, SamplingMethod):
            raise TypeError(
                f"{type(self.method).__name__} edits faces but cannot sample them; a flow can"
            )
        semantic_variables = np.asarray(semantic_variables, np.float32)
        is_single, count = semantic_variables.ndim == 1, len(self.attributes)
        if semantic_variables.ndim not in (1, 2) or semantic_variables.shape[-1] != count:
            raise ValueError(
                f"expected semantic variables [b, {count}] or [{count}], of"
                f" {', '.join(self.attributes)}; got shape {semantic_variables.shape}"
            )
        semantic_variables = np.atleast_2d(semantic_variables)
        if len(semantic_variables) == 0:
            raise ValueError("expected semantic variables of at least one face, got none")
        _check_finite(semantic_variables, "semantic variables")
        num_rows = self.method.num_rows or self.generator.num_styles
        shape = (len(semantic_variables), num_rows, self.method.code_dim)
        code = jax.random.normal(key, shape)
        w_plus = self._run(lambda *x: _decode(self.method, *x), code, semantic_variables)
        faces = self.synthesize(require_solved(w_plus))
        return faces[0] if is_single else faces

    @in_float32
    def codes_of_seeds(
        self, seeds: int | Sequence[int], *, truncation: float = 0.9
    ) -> Float[np.ndarray, "*b n d"]:
        """W+ latents of the generator's random faces, the same for a seed everywhere.

        z is `numpy.random.default_rng(seed).standard_normal((1, d))` as float32; its w is used for
        all styles. Any seed is drawn, also those that a world's list of grown-up faces leaves out
        (`pocket_faces` takes none of them).

        Args:
          seeds: one, or several; whole numbers of at least 0.
          truncation: share of w's distance from the average that is kept, in [0, 1]; more goes beyond w.

        Raises:
          ValueError: for no seed, one that is no such number, or a truncation that is negative or not finite.
        """
        if not 0 <= truncation < np.inf:
            raise ValueError(f"truncation must be a number of at least 0, got {truncation}")
        z = seeded_normal(_checked_seeds(seeds), self.generator.style_dim)
        w = self._run(lambda x: _map(self.generator, x, truncation), z)
        w_plus = np.repeat(w[:, None], self.generator.num_styles, axis=1)
        return w_plus[0] if np.ndim(seeds) == 0 else w_plus

    def _side(self, size: int | None) -> int:
        """The side of pictures of a size, as `synthesize` takes it."""
        if size is None and self.renderer is None:
            return self.generator.resolution
        if size is None:
            return min(_RENDERED_SIZE, self.renderer.resolution)
        if size not in self.sizes:
            raise ValueError(f"size must be one of {', '.join(map(str, self.sizes))}, got {size}")
        return size

    @functools.cached_property
    def _whitening(self) -> Whitening:
        return Whitening.of_generator(self.generator)

    def _refined(self, w_plus, images, num_steps, report):
        images = crop_and_resize(images, self.generator.resolution)
        refinement = Refinement.of(self._whitening, w_plus)
        # The last steps see what will be shown: the renderer's colors are not quite the generator's.
        last = 0 if self.renderer is None else round(_RENDERED_SHARE * num_steps)
        stops = {num_steps - last, num_steps} - {0}
        if report is not None:
            report(0, num_steps)
            stops |= set(range(_STEPS_BETWEEN_REPORTS, num_steps, _STEPS_BETWEEN_REPORTS))
        start = 0
        for stop in sorted(stops):
            seen = self.generator if stop <= num_steps - last else self.renderer
            steps = np.array([start, stop], np.int32)
            refinement = continue_refinement(
                seen, self._whitening, refinement, images, steps, num_steps, self.identity
            )
            if report is not None:
                jax.block_until_ready(refinement)
                report(stop, num_steps)
            start = stop
        return refinement.codes(self._whitening)

    def _codes(self, w_plus) -> tuple[Float[np.ndarray, "b n d"], bool]:
        """Checked latents as a batch, and whether they are one face's given by itself."""
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
            w_plus = np.asarray(w_plus, np.float32)
        is_single = w_plus.ndim == 2
        w_plus = w_plus[None] if is_single else w_plus
        if len(w_plus) == 0:
            raise ValueError("expected latents of at least one face, got none")
        # One row may stand for all styles, and is edited alone, for less.
        is_row = w_plus.ndim == 3 and w_plus.shape[1] == 1
        rows = np.repeat(w_plus, self.generator.num_styles, axis=1) if is_row else w_plus
        self.generator.check_codes(rows)
        _check_finite(w_plus, "latents")
        return w_plus, is_single

    def _run(self, function, *arrays):
        return map_batches(function, self.batch_size, *arrays)


def _latent_shape(network: nnx.Module) -> tuple[int, int]:
    return network.num_styles, network.style_dim


def _halvings(size: int) -> tuple[int, ...]:
    return tuple(size >> k for k in range(size.bit_length()))


def _checked_seeds(seeds: int | Sequence[int]) -> Sequence[int]:
    given = np.atleast_1d(seeds)
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iu" or given.min() < 0:
        raise ValueError(f"seeds must be whole numbers of at least 0, one or several, got {seeds}")
    return given


def _check_finite(values: Float[np.ndarray, "b *rest"], name: str) -> None:
    """Refuse NaN, and what is too large for float32, before it looks like a failure of the solver."""
    is_finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not is_finite.all():
        raise ValueError(f"the {name} of face {np.argmin(is_finite)} are NaN or infinite")
