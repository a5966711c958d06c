"""Converts a checkpoint to a network file: `python -m converters CHECKPOINT --out DIR`.

The kind is recognised from the keys. The network file gets its name only after it has been read
again and compared with the checkpoint, so DIR never holds a half-written or unverified network.
"""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from safetensors import safe_open

from converters import e4e, interfacegan, ir_files, npy_reader, stylegan2
from converters.arrays_report import digest, table
from converters.check import check_keys
from converters.errors import CheckpointError
from converters.kinds import KINDS, check_options, load_kind, recognise
from converters.notes import input_notes, missing_notes
from converters.torch_reader import read_checkpoint
from sdflow_jax.files import networks
from sdflow_jax.files.bars import Bar
from sdflow_jax.files.words import print_any_name
from sdflow_jax.methods.interfacegan.boundary import load_boundary, save_boundary

# What each network's file is called unless --name says otherwise; the names are those of
# `config.networks`.
FILE_NAMES = {
    "Generator": "generator",
    "MobileStyleGAN": "mobile_stylegan",
    "InversionEncoder": "inversion_encoder",
    "AttributeClassifier": "classifier",
    "SemanticEncoder": "semantic_encoder",
    "IdentityEncoder": "identity_encoder",
    "IResNet": "identity_encoder",
    "ConditionalFlow": "flow",
    "LatentTransformer": "latent_transformer",
    "LatentClassifier": "latent_classifier",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 if the checkpoint cannot be converted."""
    arguments = _parser().parse_args(argv)
    print_any_name()
    try:
        _check_directory(arguments.out)
        if arguments.kind == "interfacegan" or _is_numpy_file(arguments.checkpoint):
            path = convert_boundary(
                arguments.checkpoint,
                arguments.out,
                name=arguments.name,
                overwrite=arguments.overwrite,
            )
        else:
            path = convert_network(
                arguments.checkpoint,
                arguments.out,
                kind=arguments.kind,
                name=arguments.name,
                dtype=arguments.dtype,
                overwrite=arguments.overwrite,
                average_of=arguments.average_of,
                encoder_type=arguments.encoder_type,
                noises=arguments.noises,
                class_label=arguments.class_label,
                attributes=arguments.attributes,
                image_size=arguments.image_size,
                crop=arguments.crop,
            )
    except (CheckpointError, networks.NetworkFileError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    print(f"wrote {path}")
    return 0


def convert_network(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: str = "auto",
    name: str | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
    average_of: str | os.PathLike[str] | None = None,
    encoder_type: str | None = None,
    noises: str | None = None,
    class_label: int | None = None,
    attributes: Sequence[str] | None = None,
    image_size: int | None = None,
    crop: Sequence[float] | None = None,
    report: Callable[[str], None] = print,
) -> pathlib.Path:
    """Convert one checkpoint; returns the network file.

    Args:
      checkpoint: a PyTorch checkpoint, an NVIDIA pickle, or the package `random-face` as a wheel,
        a folder or an `.xml` file.
      out: the directory to write to.
      kind: one of `KINDS`, or "auto".
      name: the file's name without its extension.
      dtype: storage type of the floating-point arrays; "float16" halves the file.
      overwrite: replace a network file that is there already.
      average_of: for an e4e or pSp encoder, a generator's network file: measure codes from its
        average style, as upstream's demo does, in place of the encoder's own average code.
      encoder_type: for an encoder whose checkpoint does not tell, "e4e" or "psp".
      noises: for a StyleGAN2 generator without noise images, "random" or "zero".
      class_label: for a class-conditional StyleGAN2 generator, the class that it is to show.
      attributes: what the network's outputs are; see `converters.notes.input_notes`.
      image_size: side of its input in pixels; the same.
      crop: the part of the face that it sees; the same.
      report: called with lines of text as the work goes on.

    Raises:
      CheckpointError: if the checkpoint cannot be read, is not of this kind, does not fit its
        network, or is not the same after writing and loading; or if the network file exists.
      NetworkFileError: if `average_of` is no network file.
    """
    report(f"reading {checkpoint}")
    tree = _read(checkpoint)
    try:
        kind = recognise(tree) if kind == "auto" else kind
        report(f"converting {load_kind(kind).KIND}")
        options = check_options(
            kind,
            {
                "average_of": average_of,
                "encoder_type": encoder_type,
                "noises": noises,
                "class_label": class_label,
            },
        )
        network, arguments, arrays = _convert(kind, tree, options)
        check_keys(
            arrays, networks.expected_shapes(network, arguments), source=f"converted {network}"
        )
        told = getattr(load_kind(kind), "notes", lambda tree: {})(tree)
        del tree
        for key in arrays:  # one by one, so that never all arrays are there twice
            arrays[key] = _stored(key, arrays[key], np.dtype(dtype))
        told |= input_notes(
            network, arguments, attributes=attributes, image_size=image_size, crop=crop
        )
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from error
    if sentence := missing_notes(network, arguments, told):
        report(sentence)
    notes = {"source": pathlib.Path(checkpoint).name, "kind": kind, **told}
    # Of a path only the name: files do not tell where they were made.
    notes |= {name: pathlib.Path(str(value)).name for name, value in options.items()}
    path = _new_file(out, name or FILE_NAMES.get(network, network.lower()), overwrite=overwrite)
    report(f"writing {network}({', '.join(f'{key}={value}' for key, value in arguments.items())})")
    unverified = path.with_name(f".{path.name}.unverified")
    try:
        notes["digest"] = digest(arrays)
        networks.save_arrays(unverified, network, arguments, arrays, notes=notes)
        report("verifying")
        verify(unverified, network, arguments, arrays)
        unverified.replace(path)
    finally:
        unverified.unlink(missing_ok=True)
        unverified.with_name(unverified.name + ".partial").unlink(missing_ok=True)
    report(table(arrays))
    report(f"digest sha256:{notes['digest']}")
    return path


def _read(checkpoint: str | os.PathLike[str]) -> Any:
    if ir_files.is_ir(checkpoint):
        return ir_files.read_networks(checkpoint)
    with Bar(unit="B", unit_scale=True, desc="checksums", delay=2, leave=False) as bar:
        return read_checkpoint(checkpoint, progress=lambda done, total: _show(bar, done, total))


def _convert(
    kind: str, tree: Any, options: Mapping[str, Any]
) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Convert; a checkpoint whose keys promise what its content does not hold is an error, too."""
    converter = load_kind(kind)
    options = dict(options)
    if generator := options.pop("average_of", None):
        options["average_style"] = e4e.read_average_style(generator)
    try:
        return converter.convert(tree, **options)
    except CheckpointError as error:
        others = [name for name in KINDS if name != kind and load_kind(name).matches(tree)]
        if converter.matches(tree) or not others:
            raise
        raise CheckpointError(f"{error}; its keys are those of --kind {others[0]}") from error
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as e:
        raise CheckpointError(
            f"expected the checkpoint of a {converter.KIND},"
            f" got content that does not fit ({type(e).__name__}: {str(e)[:100]})"
        ) from e


def verify(
    path: pathlib.Path,
    network: str,
    arguments: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Read the network file again, an array at a time, and compare it with what was converted.

    Raises:
      CheckpointError: if anything differs.
    """
    metadata = networks.read_metadata(path)
    if metadata["network"] != network or metadata["arguments"] != json.loads(json.dumps(arguments)):
        raise CheckpointError(f"{path}: the description is not the same after writing")
    with safe_open(path, framework="numpy") as file:
        if set(file.keys()) != set(arrays):
            raise CheckpointError(f"{path}: not all arrays are there after writing")
    for name in sorted(arrays):
        with safe_open(path, framework="numpy") as file:  # it keeps what it has read in memory
            loaded = file.get_tensor(name)
        if loaded.dtype != arrays[name].dtype or not np.array_equal(loaded, arrays[name]):
            raise CheckpointError(
                f"{path}: {name} is not the same after writing; is the disk full or failing?"
            )


def convert_boundary(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    overwrite: bool = False,
    report: Callable[[str], None] = print,
) -> pathlib.Path:
    """Convert an InterFaceGAN `.npy` boundary; returns the boundary file, named like the source."""
    report(f"reading {checkpoint}")
    boundary = interfacegan.read_boundary(checkpoint)
    path = _new_file(out, name or pathlib.Path(checkpoint).stem, overwrite=overwrite)
    report(f"writing {interfacegan.KIND} of length {len(boundary.normal)}")
    unverified = path.with_name(f".{path.name}.unverified")
    try:
        save_boundary(unverified, boundary)
        if not np.array_equal(load_boundary(unverified).normal, boundary.normal):
            raise CheckpointError(f"{path}: the normal is not the same after writing and loading")
        unverified.replace(path)
    finally:
        unverified.unlink(missing_ok=True)
    arrays = {"normal": boundary.normal, "offset": np.asarray(boundary.offset)}
    report(table(arrays))
    report(f"digest sha256:{digest(arrays)}")
    return path


def _check_directory(out: pathlib.Path) -> None:
    """Require that files can be written to `out`, before the work of making one.

    Raises:
      CheckpointError: if `out` is a file, or it or its nearest existing parent is not writable.
    """
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise CheckpointError(f"--out {out}: expected a directory, but {existing} is a file")
    if not os.access(existing, os.W_OK):
        raise CheckpointError(f"--out {out}: {existing} is not writable")


def _new_file(out: str | os.PathLike[str], name: str, *, overwrite: bool) -> pathlib.Path:
    path = pathlib.Path(out) / f"{name}.safetensors"
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists; choose another --name, or --overwrite it")
    return path


def _stored(key: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`array` as it goes to the file: floating-point values in `dtype`, and finite."""
    if array.dtype.kind not in "fV":  # bfloat16 is of kind V
        return array
    # Of bfloat16 numpy knows no `isfinite`.
    values = array.astype(np.float32) if array.dtype.kind == "V" else array
    if not np.isfinite(values).all():
        raise CheckpointError(
            f"{key} holds NaN or infinity; is the checkpoint of a run that diverged?"
        )
    with np.errstate(over="ignore"):
        stored = array.astype(dtype, copy=False)
    if not np.isfinite(stored).all():
        raise CheckpointError(
            f"{key} goes up to {np.abs(values).max():.3g}, too large for {dtype}; leave out --dtype"
        )
    return stored


def _is_numpy_file(path: pathlib.Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(npy_reader.MAGIC)) == npy_reader.MAGIC
    except OSError:
        return False  # the reader gives the message


def _show(bar: Bar, done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)


def _bare_name(name: str) -> str:
    if not name or pathlib.Path(name).name != name:
        raise argparse.ArgumentTypeError(f"expected a file name without folders, got {name!r}")
    return name


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(share) for share in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers with commas, got {text!r}") from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m converters",
        description=__doc__.partition("\n")[0],
        epilog="example: python -m converters stylegan2-ffhq-config-f.pt --out networks",
    )
    parser.add_argument(
        "checkpoint",
        type=pathlib.Path,
        help="a .pt, .pth, .tar, .pkl or (InterFaceGAN) .npy file; or the package random-face: its"
        " .whl, its folder, or one of its .xml files",
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the directory to write to")
    parser.add_argument("--kind", choices=("auto", *KINDS, "interfacegan"), default="auto")
    parser.add_argument(
        "--name",
        type=_bare_name,
        help="file name without extension; by default what the network is for",
    )
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a network file that is there already"
    )
    parser.add_argument(
        "--average-of",
        type=pathlib.Path,
        metavar="GENERATOR",
        help="e4e and pSp: measure codes from the average style of this converted generator, as"
        " upstream's demo does, not from the encoder's own average code",
    )
    parser.add_argument(
        "--encoder-type",
        choices=e4e.ENCODER_TYPES,
        help="e4e and pSp: which of the two it is, for a checkpoint without options that tell",
    )
    parser.add_argument(
        "--noises",
        choices=stylegan2.NOISES,
        help="StyleGAN2 without noise images (noises.*): add fixed normal ones, or none",
    )
    parser.add_argument(
        "--class",
        dest="class_label",
        type=int,
        metavar="LABEL",
        help="class-conditional StyleGAN2: the class to show, from 0",
    )
    parser.add_argument(
        "--attributes",
        type=_names,
        metavar="NAME,NAME,...",
        help="classifiers and semantic encoders: what the outputs are, in their order; without it, 40"
        " outputs of a classifier are CelebA's attributes",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="classifiers and semantic encoders: side of the images that the network takes",
    )
    parser.add_argument(
        "--crop",
        type=_shares,
        metavar="TOP,LEFT,SIDE",
        help="identity encoders: the part of the face that the network takes, in shares of the side",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
