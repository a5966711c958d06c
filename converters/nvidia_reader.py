"""NVIDIA's network pickles (stylegan2-ada-pytorch and later): the state of the modules, never their
source.

These files carry each class as Python source, which the original loader executes. Here the source
is dropped unread; the class name, the constructor's arguments and the arrays are kept.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from converters.errors import CheckpointError
from converters.legacy_reader import has_magic_number, read_legacy
from converters.pickle_machine import Constructor, PickleMachine
from converters.tensor_builders import CONSTRUCTORS, Storage

MAX_MODULE_DEPTH = 32
MAX_MODULES = 100_000


@dataclasses.dataclass
class PersistentModule:
    """One pickled module before its tree is flattened."""

    class_name: str
    state: dict[str, Any]


def read_pickle(data: memoryview) -> Any:
    """The content of an NVIDIA pickle, with every network flattened to a dictionary.

    A network becomes `{"class_name", "init_args", "init_kwargs", "state_dict"}`.

    Raises:
      CheckpointError: if the file is damaged, or uses a name outside the closed list.
    """
    machine = PickleMachine(data, allowed=_NVIDIA_CONSTRUCTORS)
    tree = machine.load()
    if machine.position != len(data):
        raise CheckpointError(
            f"expected one pickle in the file, got {len(data) - machine.position} bytes behind it;"
            " is this a damaged PyTorch checkpoint?"
        )
    if isinstance(tree, PersistentModule):
        return _describe(tree)
    if not isinstance(tree, dict) or not any(
        isinstance(value, PersistentModule) for value in tree.values()
    ):
        raise CheckpointError(
            "expected a PyTorch checkpoint or an NVIDIA network pickle, got another pickle"
        )
    return {
        key: _describe(value) if isinstance(value, PersistentModule) else value
        for key, value in tree.items()
    }


def _describe(module: PersistentModule) -> dict[str, Any]:
    arrays: dict[str, np.ndarray] = {}
    _collect(module, "", arrays, 0, itertools.count())
    return {
        "class_name": module.class_name,
        "init_args": module.state.get("_init_args", ()),
        "init_kwargs": module.state.get("_init_kwargs", {}),
        "state_dict": arrays,
    }


def _collect(
    module: PersistentModule,
    prefix: str,
    arrays: dict[str, np.ndarray],
    depth: int,
    counter: Iterator[int],
) -> None:
    """Add the parameters and persistent buffers of `module` and its children to `arrays`.

    `counter` counts the visits: a file may use one module in many places, and modules that share
    modules multiply.
    """
    if depth > MAX_MODULE_DEPTH or next(counter) > MAX_MODULES:
        raise CheckpointError("the pickle nests its modules beyond reason")
    state = module.state
    transient = state.get("_non_persistent_buffers_set", set())
    if not isinstance(transient, set):
        raise CheckpointError("the pickle holds a damaged module")
    for kind in ("_parameters", "_buffers", "_modules"):
        for name, value in _named(state, kind):
            if value is None or (kind == "_buffers" and name in transient):
                continue
            if kind == "_modules" and isinstance(value, PersistentModule):
                _collect(value, f"{prefix}{name}.", arrays, depth + 1, counter)
            elif kind != "_modules" and isinstance(value, np.ndarray):
                arrays[prefix + name] = value
            else:
                raise CheckpointError(
                    f"the pickle holds a {type(value).__name__} in place of {prefix}{name}"[:200]
                )


def _named(state: Mapping[str, Any], kind: str) -> list[tuple[str, Any]]:
    values = state.get(kind, {})
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise CheckpointError("the pickle holds a damaged module")
    return list(values.items())


def _persistent_module(machine: PickleMachine, meta: Any) -> PersistentModule:
    """`torch_utils.persistence._reconstruct_persistent_obj`, without executing `module_src`."""
    del machine
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise CheckpointError("the pickle holds a damaged persistent object")
    class_name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(class_name, str) or not isinstance(state, dict):
        raise CheckpointError(
            "the pickle holds a persistent object without a class name or a state"
        )
    return PersistentModule(class_name, state)


def _storage_from_bytes(machine: PickleMachine, content: Any) -> Storage:
    """`torch.storage._load_from_bytes`: a storage in PyTorch's old format inside the pickle."""
    if not isinstance(content, (bytes, memoryview)):
        raise CheckpointError("the pickle holds a damaged storage")
    machine.spend(len(content))
    inner = memoryview(content)
    if not has_magic_number(inner):
        raise CheckpointError("the pickle holds a storage that is not in PyTorch's old format")
    storage, _ = read_legacy(inner, CONSTRUCTORS)
    if not isinstance(storage, Storage):
        raise CheckpointError(f"the pickle holds a {type(storage).__name__} in place of a storage")
    return storage


_NVIDIA_CONSTRUCTORS: Mapping[str, Constructor] = dict(CONSTRUCTORS) | {
    constructor.name: constructor
    for constructor in (
        Constructor("torch_utils.persistence._reconstruct_persistent_obj", call=_persistent_module),
        Constructor("torch.storage._load_from_bytes", call=_storage_from_bytes),
        Constructor(
            "dnnlib.util.EasyDict",
            call=lambda machine, *pairs: CONSTRUCTORS["collections.OrderedDict"].call(
                machine, *pairs
            ),
        ),
    )
}
