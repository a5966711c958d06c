"""What a shell's edit runs, kept as it was traced: the next one builds no network and traces nothing.

To import what networks are made of, to build them and to trace them takes Python longer than everything else of
an edit; to load what XLA has compiled takes a moment. So the first edit leaves its programs (by `jax.export`)
beside XLA's own, with the weights that they take, in a file whose name is made of all that they follow from.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from jax import export
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open

from sdflow_jax.files import networks
from sdflow_jax.files.atomic import write_atomic
from sdflow_jax.files.code_digest import code_digest
from sdflow_jax.files.compiled_programs import shrink
from sdflow_jax.files.renderers import find_larger_file
from sdflow_jax.files.run_config import check_contents, load_method_config
from sdflow_jax.images.pixels import to_signed
from sdflow_jax.images.precision import in_float32
from sdflow_jax.methods.solved import require_pictures, require_solved
from sdflow_jax.methods.targets import wanted_variables

if TYPE_CHECKING:  # what is prepared needs none of what an editor imports
    from sdflow_jax.editor import Editor, Program

_PACKAGED = ("generator", "inversion_encoder", "flow", "semantic_encoder")
_MAX_BYTES = 256 << 20  # of one editor's weights; all that are kept may have twice as many
_NAMES = re.compile(r"edit-[0-9a-f]{32}\.safetensors(\.partial)?")


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What is asked of an editor besides edits; as `Editor` has them.

    Attributes:
      attributes: names of the semantic variables.
      sizes: sides of the pictures that it can make.
      picture_size: side of what its networks are shown.
      size: of the pictures that it is prepared for; None for the usual one.
    """

    attributes: tuple[str, ...]
    sizes: tuple[int, ...]
    picture_size: int
    size: int | None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "_Facts":
        plain = json.loads(text)
        return cls(
            tuple(plain["attributes"]), tuple(plain["sizes"]), plain["picture_size"], plain["size"]
        )


class _Traced(NamedTuple):
    """One of an editor's programs: its name, itself, and the weights that it takes before the arrays."""

    name: str
    program: export.Exported
    weights: Sequence[jax.Array]


class PreparedEditor:
    """`Editor` for one picture of one face at a time, of one size; its results are the same.

    `compile` comes before all calls.

    Args:
      path: where it is, or may be, kept.
      facts: about it.
      traced: `invert`, `edit` and `synthesize`.
      is_kept: whether it is there.
    """

    def __init__(
        self, path: pathlib.Path, facts: _Facts, traced: Iterable[_Traced], *, is_kept: bool = False
    ):
        self._path = path
        self._is_kept = is_kept
        self._facts = facts
        self._traced = {entry.name: entry for entry in traced}
        self._compiled: dict[str, concurrent.futures.Future[jax.stages.Compiled]] = {}

    @classmethod
    @in_float32
    def of(cls, editor: "Editor", size: int | None, path: pathlib.Path) -> "PreparedEditor":
        """Trace what an editor runs for a picture.

        Args:
          editor: of batches of one, with an inversion encoder.
          size: as `Editor.synthesize` takes it.
          path: where it may be kept.

        Raises:
          ValueError: for a size that it does not make.
        """
        facts = _Facts(editor.attributes, editor.sizes, editor.picture_size, size)
        programs = editor.programs(size=size)
        return cls(path, facts, (_trace(name, program) for name, program in programs.items()))

    @classmethod
    def load(cls, path: pathlib.Path) -> "PreparedEditor | None":
        """The editor that `keep` has written; None if there is none, or its file is damaged."""
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata()
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if metadata["digest"] != _digest(arrays):
                return None
            facts = _Facts.from_json(metadata["facts"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None
        weights: dict[str, list[jax.Array]] = {}
        for key in sorted(arrays):
            name, _, rest = key.partition("/")
            if rest != "program":
                weights.setdefault(name, []).append(jax.device_put(arrays[key]))
        traced = (_restored(name, arrays, own) for name, own in weights.items())
        return cls(path, facts, traced, is_kept=True)

    def keep(self) -> None:
        """Write it for `load`, unless it comes from there or its weights are too large to have them twice. A
        file that cannot be written is done without.
        """
        size = sum(x.nbytes for entry in self._traced.values() for x in entry.weights)
        if self._is_kept or size > _MAX_BYTES:
            return
        self._is_kept = True
        arrays = {
            f"{name}/{number:05d}": np.asarray(x)
            for name, traced in self._traced.items()
            for number, x in enumerate(traced.weights)
        }
        for name, traced in self._traced.items():
            arrays[f"{name}/program"] = np.frombuffer(traced.program.serialize(), np.uint8)
        metadata = {"facts": self._facts.to_json(), "digest": _digest(arrays)}
        with contextlib.suppress(OSError):
            shrink([self._path.parent], _NAMES, 2 * _MAX_BYTES - size)
            write_atomic(
                self._path, lambda file: networks.write_safetensors(file, arrays, metadata)
            )

    def compile(self, *, size: int | None = None) -> None:
        """Begin to load or compile all programs, side by side; a call waits for its own.

        Args:
          size: as for `synthesize`.

        Raises:
          ValueError: for another size than it is prepared for.
        """
        self._check(size)
        pool = concurrent.futures.ThreadPoolExecutor()
        for name, traced in self._traced.items():
            self._compiled[name] = pool.submit(in_float32(_compile), traced)
        pool.shutdown(wait=False)

    @property
    def attributes(self) -> tuple[str, ...]:
        """As `Editor`'s."""
        return self._facts.attributes

    @property
    def sizes(self) -> tuple[int, ...]:
        """As `Editor`'s."""
        return self._facts.sizes

    @property
    def picture_size(self) -> int:
        """As `Editor`'s."""
        return self._facts.picture_size

    def invert(self, pixels: UInt8[np.ndarray, "r r 3"]) -> Float[np.ndarray, "n d"]:
        """W+ latents of a face of `picture_size` pixels."""
        return self._run("invert", to_signed(pixels[None]))

    def edit(
        self,
        w_plus: Float[np.ndarray, "n d"],
        pixels: UInt8[np.ndarray, "r r 3"],
        targets: Mapping[str, float],
    ) -> Float[np.ndarray, "n d"]:
        """Latents of the same face with some semantic variables set, others as read from the picture.

        Raises:
          ValueError: as `wanted_variables`.
          FloatingPointError: if the differential equation could not be solved.
        """
        wanted, is_edited = wanted_variables(targets, self.attributes, 1)
        faces = to_signed(pixels[None])
        return require_solved(self._run("edit", w_plus[None], faces, wanted, is_edited))

    def synthesize(
        self, w_plus: Float[np.ndarray, "n d"], *, size: int | None = None
    ) -> Float[np.ndarray, "s s 3"]:
        """A picture of latents in [-1, 1].

        Raises:
          ValueError: for another size than it is prepared for.
          FloatingPointError: for latents so far from all faces that their picture is NaN.
        """
        self._check(size)
        return require_pictures(self._run("synthesize", w_plus[None])[None])[0]

    def _check(self, size: int | None) -> None:
        if size != self._facts.size:
            raise ValueError(f"prepared for pictures of size {self._facts.size}, asked for {size}")

    def _run(self, name: str, *arrays: np.ndarray) -> np.ndarray:
        return np.asarray(self._compiled[name].result()(self._traced[name].weights, *arrays)[0])


def _trace(name: str, program: "Program") -> _Traced:
    leaves, structure = jax.tree.flatten(program.network)

    def call(leaves, *arrays):
        network = jax.tree.unflatten(structure, leaves)
        return program.function(network, *arrays, **program.options)

    return _Traced(name, export.export(jax.jit(call))(leaves, *program.arrays), leaves)


def _restored(name: str, arrays: Mapping[str, np.ndarray], weights: Sequence[jax.Array]) -> _Traced:
    serialized = bytearray(arrays[f"{name}/program"].tobytes())
    return _Traced(name, export.deserialize(serialized), weights)


def _compile(traced: _Traced) -> jax.stages.Compiled:
    arrays = traced.program.in_avals[len(traced.weights) :]
    return jax.jit(traced.program.call).lower(traced.weights, *arrays).compile()


class Place(NamedTuple):
    """Where a prepared editor is, or would be.

    Attributes:
      path: its file.
      generator: the generator of its networks.
      larger: the renderer's file; None for none.
    """

    path: pathlib.Path
    generator: str
    larger: pathlib.Path | None

    def note_missing_renderer(self, resolution: int) -> None:
        """Warn, as loading the networks would, where a renderer could be installed.

        Args:
          resolution: of the largest pictures without it.
        """
        if self.larger is None:
            find_larger_file(self.generator, shown_at=resolution)


def place_of(directory: pathlib.Path, workdir: pathlib.Path | None, size: int | None) -> Place:
    """The place of a run's prepared editor, by what its networks hold and by all code between them and a picture.

    Args:
      directory: of traced programs.
      workdir: of the run; None for the pocket world.
      size: of the pictures.

    Raises:
      FileNotFoundError, ConfigError, NetworkFileError: as `Editor.from_workdir` does.
    """
    generator, files = _files_of(workdir)
    larger = find_larger_file(generator)
    told = [
        code_digest(),
        *(networks.digest(file) for file in files),
        networks.digest(larger) if larger else None,
        *(jax.default_backend(), jax.config.jax_default_matmul_precision, size),
    ]
    digest = hashlib.sha256("\n".join(map(str, told)).encode()).hexdigest()
    return Place(directory / f"edit-{digest[:32]}.safetensors", generator, larger)


def _files_of(workdir: pathlib.Path | None) -> tuple[str, list[str | pathlib.Path]]:
    """The generator's file, and all files that an editor is loaded from."""
    if workdir is None:
        packaged = [f"pocket:{role}" for role in _PACKAGED]
        return packaged[0], packaged
    config = load_method_config(workdir)
    roles = ("generator", "inversion_encoder")
    check_contents(config, roles)
    files = [config["networks"][role] for role in roles if config["networks"].get(role)]
    trained = sorted((workdir / config["method"]).glob("*.safetensors"))
    return files[0], [*files, *trained, workdir / "config.json"]


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].dtype} {arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key]).reshape(-1).view(np.uint8))
    return digest.hexdigest()
