"""Network files: one safetensors file holds a network's arrays and the arguments that build it.

The shipped pocket networks, a user's converted checkpoints and the networks that training exports all have
this form, so every part of the package loads a network by its path alone.
"""

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import jax
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open

from sdflow_jax.files.atomic import write_atomic
from sdflow_jax.files.late_import import imported
from sdflow_jax.images.precision import in_float32

FORMAT = "sdflow_jax.network/1"

_TYPE_NAMES = {
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    "bfloat16": "BF16",
    "bool": "BOOL",
}

# Name in the file -> "module:class" of the networks that several methods share. Names are resolved
# late, so that reading one network imports one module.
REGISTRY = {
    "Generator": "sdflow_jax.models.stylegan2:Generator",
    "MobileStyleGAN": "sdflow_jax.models.mobile_stylegan:MobileStyleGAN",
    "CompactGenerator": "sdflow_jax.models.compact_generator:CompactGenerator",
    "AttributeClassifier": "sdflow_jax.models.attribute_classifier:AttributeClassifier",
    "SemanticEncoder": "sdflow_jax.models.semantic_encoder:SemanticEncoder",
    "ChosenAttributes": "sdflow_jax.models.chosen_attributes:ChosenAttributes",
    "IdentityEncoder": "sdflow_jax.models.identity_encoder:IdentityEncoder",
    "IResNet": "sdflow_jax.models.iresnet:IResNet",
    "InversionEncoder": "sdflow_jax.models.inversion_encoder:InversionEncoder",
    "ConditionalFlow": "sdflow_jax.flow.conditional_flow:ConditionalFlow",
}

# Asked for a name that is not above: a function that gives such a mapping of the networks that
# belong to one method alone.
_FURTHER_REGISTRY = "sdflow_jax.methods.registry:networks_of_methods"

PACKAGED_WORLDS = {"pocket": pathlib.Path(__file__).parents[1] / "pocket" / "weights"}


# Random draws that building a network may take, twice those of the largest: what a file says of its
# network is not to be trusted. Where its arrays are read too, they are the bound.
_MAX_DRAWS = 1500


class NetworkFileError(ValueError):
    """A network file is missing, damaged, or does not fit the network that it names."""


def resolve(path: str | os.PathLike[str], *, suffix: str = ".safetensors") -> pathlib.Path:
    """Turn `pocket:generator` into the packaged file; leave any other path as it is.

    Args:
      path: `WORLD:NAME`, or a path.
      suffix: of the packaged files that are meant, a network's or another.

    Raises:
      NetworkFileError: if the packaged world has no file of that name.
    """
    world, separator, name = str(path).partition(":")
    if not separator or world not in PACKAGED_WORLDS:
        return pathlib.Path(path)
    file = PACKAGED_WORLDS[world] / f"{name}{suffix}"
    if not file.exists():
        known = sorted(f.stem for f in PACKAGED_WORLDS[world].glob(f"*{suffix}"))
        raise NetworkFileError(
            f"{path}: the {world} world has no {name!r}; it has {', '.join(known)}"
        )
    return file


def digest(path: str | os.PathLike[str]) -> str:
    """Sixteen hexadecimal digits that change with a network file's content.

    Raises:
      NetworkFileError: if the file is missing, or for an unknown packaged network.
    """
    file = resolve(path)
    if not file.is_file():
        raise NetworkFileError(f"{file}: no such network file")
    status = file.stat()
    return _digest(file, status.st_mtime_ns, status.st_size)


# A run asks several times for the same gigabyte: when it is resumed, saved, and finds its data.
@functools.lru_cache
def _digest(file: pathlib.Path, modified: int, size: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def flatten(module: nnx.Module) -> dict[str, np.ndarray]:
    """All arrays of a module (parameters, statistics, buffers) by path, as in `mapping/layers/0/kernel`."""
    state = nnx.to_pure_dict(nnx.state(module, nnx.Not(nnx.RngState)))
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(x) for path, x in leaves
    }


def expected_shapes(name: str, arguments: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes by path of the network `name` built from `arguments`, without allocating it."""
    state = nnx.to_pure_dict(nnx.state(build_abstract(name, arguments), nnx.Not(nnx.RngState)))
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(x.shape) for path, x in leaves
    }


@in_float32
def build(name: str, arguments: Mapping[str, Any], *, seed: int = 0) -> nnx.Module:
    """Construct the network `name` with fresh weights.

    Raises:
      NetworkFileError: for an unknown name.
    """
    return _class_of(name)(**arguments, rngs=nnx.Rngs(seed))


@in_float32
def build_abstract(
    name: str, arguments: Mapping[str, Any], *, max_draws: int = _MAX_DRAWS
) -> nnx.Module:
    """Construct the network `name` with shapes in place of its arrays, without allocating it.

    Args:
      name: of its class.
      arguments: of its class.
      max_draws: random draws that it may take, at most one for each of its arrays.

    Raises:
      NetworkFileError: for an unknown name, arguments that it does not take, or too many draws.
    """
    network = _class_of(name)

    def begin() -> nnx.Module:
        rngs = nnx.Rngs(0)
        rngs.default = _FewDraws(0, max_draws)
        return network(**arguments, rngs=rngs)

    try:
        return nnx.eval_shape(begin)
    except Exception as error:  # a file can hold any arguments, and they lead to anything
        words = " ".join(str(error).split())[:200]
        raise NetworkFileError(
            f"the arguments of its description do not make a {name} ({type(error).__name__}: {words})"
        ) from error


class _FewDraws(nnx.RngStream):
    """A source of weights that gives out."""

    def __init__(self, key: int, max_draws: int):
        super().__init__(key, tag="default")
        self.max_draws = self.left = max_draws

    def __call__(self) -> jax.Array:
        self.left -= 1
        if self.left < 0:
            raise NetworkFileError(f"more than {self.max_draws} weights to draw")
        return self.key[...]  # drawn from in name only; to advance a traced counter takes long


def _class_of(name: str) -> type[nnx.Module]:
    places = REGISTRY if name in REGISTRY else {**REGISTRY, **imported(_FURTHER_REGISTRY)()}
    if name not in places:
        raise NetworkFileError(
            f"unknown network {name!r}; known networks: {', '.join(sorted(places))}"
        )
    return imported(places[name])


def load_arrays(module: nnx.Module, arrays: Mapping[str, np.ndarray], *, source: str) -> None:
    """Put `arrays` (keyed as by `flatten`) into `module`, each cast to the dtype that it replaces.

    Raises:
      NetworkFileError: if a key is missing or unexpected, or a shape differs. Nothing is loaded then.
    """
    state = nnx.state(module, nnx.Not(nnx.RngState))
    leaves, _ = jax.tree_util.tree_flatten_with_path(nnx.to_pure_dict(state))
    wanted = {
        jax.tree_util.keystr(path, simple=True, separator="/"): (path, x) for path, x in leaves
    }
    complaints = [
        f"missing {key} {wanted[key][1].shape}" for key in sorted(wanted.keys() - arrays.keys())
    ]
    complaints += [
        f"unexpected {key} {arrays[key].shape}" for key in sorted(arrays.keys() - wanted.keys())
    ]
    complaints += [
        f"{key} has shape {arrays[key].shape}, expected {wanted[key][1].shape}"
        for key in sorted(wanted.keys() & arrays.keys())
        if tuple(arrays[key].shape) != tuple(wanted[key][1].shape)
    ]
    if complaints:
        shown = "; ".join(complaints[:8]) + (
            f"; and {len(complaints) - 8} more" if len(complaints) > 8 else ""
        )
        raise NetworkFileError(f"{source} does not fit {type(module).__name__}: {shown}")
    nested: dict[Any, Any] = {}
    for key, (path, old) in wanted.items():
        node = nested
        *parents, last = [entry.key for entry in path]
        for parent in parents:
            node = node.setdefault(parent, {})
        # Cast by numpy and put as it is: jax would compile both for every shape.
        node[last] = jax.device_put(np.asarray(arrays[key]).astype(old.dtype))
    nnx.replace_by_pure_dict(state, nested)
    nnx.update(module, state)


def save_arrays(
    path: str | os.PathLike[str],
    name: str,
    arguments: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a network file atomically: a file of that name is either the old one or the whole new one.

    Raises:
      ValueError: for a note that is no text, or has a name that the format has taken.
    """
    metadata = {"format": FORMAT, "network": name, "arguments": json.dumps(dict(arguments))}
    for key, note in (notes or {}).items():
        if key in metadata or not isinstance(note, str):
            raise ValueError(
                f"notes are texts under names other than {', '.join(metadata)}; got {key!r}: {note!r}"
            )
    metadata |= notes or {}
    write_atomic(path, lambda file: write_safetensors(file, arrays, metadata))


def write_safetensors(
    file: BinaryIO, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write arrays one by one in the safetensors format.

    The package's own writer first makes the whole file in memory, and orders metadata at random,
    which makes files of equal content differ.
    """
    # Wide types first, so that every array is aligned to its own type.
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        start, end = end, end + arrays[name].nbytes
        header[name] = {
            "dtype": _TYPE_NAMES[arrays[name].dtype.name],
            "shape": list(arrays[name].shape),
            "data_offsets": [start, end],
        }
    encoded = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    encoded = encoded.ljust(-(-len(encoded) // 8) * 8)
    file.write(len(encoded).to_bytes(8, "little") + encoded)
    for name in names:
        file.write(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8))


def save_network(
    path: str | os.PathLike[str],
    module: nnx.Module,
    arguments: Mapping[str, Any],
    *,
    dtype: Any = np.float32,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write `module`, built as `type(module)(**arguments)`, to `path`.

    Args:
      path: the file to write; replaced atomically.
      module: a network that `build` knows by the name of its class.
      arguments: the JSON-able constructor arguments, without `rngs`.
      dtype: storage type of the floating-point arrays, e.g. `np.float16` to halve the file.
      notes: further metadata, text to text (provenance, measured quality).

    Raises:
      OSError: naming the file and the cause, if the disk is full or may not be written.
      ValueError: if an array holds numbers that are too large for `dtype`, or for a note as by `save_arrays`.
    """
    arrays = {}
    for key, value in flatten(module).items():
        is_number = np.issubdtype(value.dtype, np.floating)
        with np.errstate(over="ignore"):  # told below, with its name
            arrays[key] = value.astype(dtype) if is_number else value
        if is_number and np.isfinite(value).all() and not np.isfinite(arrays[key]).all():
            largest = np.abs(value).max()
            raise ValueError(f"{key} goes up to {largest:g}, too large for {np.dtype(dtype)}")
    save_arrays(path, type(module).__name__, arguments, arrays, notes=notes)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The name, arguments and notes of a network file, without its arrays.

    Raises:
      NetworkFileError: if the file is missing or is no network file.
    """
    file = resolve(path)
    if not file.is_file():
        raise NetworkFileError(f"{file}: no such network file")
    try:
        with safe_open(file, framework="numpy") as handle:
            metadata = dict(handle.metadata() or {})
    except SafetensorError as error:
        raise NetworkFileError(f"{file}: not a readable safetensors file ({error})") from error
    if metadata.get("format") != FORMAT:
        raise NetworkFileError(
            f"{file}: expected a file of format {FORMAT!r}, got {metadata.get('format')!r};"
            " convert a PyTorch checkpoint with `python -m converters`"
        )
    try:
        metadata["arguments"] = json.loads(metadata["arguments"])
        if not isinstance(metadata["arguments"], dict) or "network" not in metadata:
            raise ValueError("expected a network's name and a mapping of arguments")
    except (KeyError, RecursionError, ValueError) as error:
        raise NetworkFileError(f"{file}: a damaged description of its network ({error})") from error
    return metadata


@in_float32
def load_network(
    path: str | os.PathLike[str], *, expected: str | Sequence[str] | None = None
) -> nnx.Module:
    """Build the network that a file describes, with the file's weights as float32, in evaluation mode.

    Args:
      path: a network file, or `pocket:NAME` for a packaged one.
      expected: the registry name that the caller needs, or those that will do; None for any.

    Returns:
      A module of the class that `REGISTRY` has under the file's name.

    Raises:
      NetworkFileError: if the file is missing, damaged, of another kind, or does not fit its own description.
    """
    file = resolve(path)
    metadata = read_metadata(file)
    name = metadata["network"]
    kinds = [expected] if isinstance(expected, str) else expected or [name]
    if name not in kinds:
        raise NetworkFileError(f"{file}: expected a {' or '.join(kinds)}, the file holds a {name}")
    try:
        with safe_open(file, framework="numpy") as handle:
            arrays = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, TypeError, ValueError) as error:  # types that numpy does not have
        raise NetworkFileError(f"{file}: its arrays cannot be read ({error})") from error
    # Abstract leaves are replaced one for one below, so no random initialisation is computed only to be dropped.
    try:
        module = build_abstract(name, metadata["arguments"], max_draws=len(arrays))
    except NetworkFileError as error:
        raise NetworkFileError(f"{file}: {error}") from error
    load_arrays(module, arrays, source=str(file))
    module.eval()
    return module
