"""The closed list of names that a PyTorch checkpoint may use, and what each builds: arrays and
plain data.

Arrays are read-only views of the memory-mapped file, so reading a checkpoint costs address space,
not memory.
"""

import argparse
import dataclasses
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from converters.errors import CheckpointError
from converters.pickle_machine import Buildable, Constructor, PickleMachine, check_hashable

MAX_DIMENSIONS = 32
# A view with zero strides can claim any size; up to here it may exceed the storage that it shows.
MAX_EXPANDED_BYTES = 64 * 2**20

_STORAGE_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "ComplexFloatStorage": np.complex64,
    "ComplexDoubleStorage": np.complex128,
    "UntypedStorage": np.uint8,
}
_TENSOR_DTYPES = {
    "float32": np.float32,
    "float64": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "int8": np.int8,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
    "complex64": np.complex64,
    "complex128": np.complex128,
}


@dataclasses.dataclass(frozen=True)
class Storage:
    """A run of elements in the file. `data` is None while only the structure of the file is being
    read.
    """

    dtype: np.dtype
    count: int
    data: memoryview | None


def check_storage_identity(identity: Any) -> tuple[np.dtype, str, int, Any]:
    """dtype, key, element count and view of a persistent id `("storage", type, key, device, count[,
    view])`.

    Raises:
      CheckpointError: if it is anything else.
    """
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise CheckpointError("the pickle refers to outside data that is not a tensor's storage")
    _, dtype, key, _, count, *view = identity
    if not isinstance(dtype, np.dtype) or not isinstance(key, str) or not _is_count(count):
        raise CheckpointError("the pickle describes a storage wrongly")
    return dtype, key, count, view[0] if view else None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _tensor(
    machine: PickleMachine, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any
) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v2`: a strided view of a storage."""
    del rest  # requires_grad, hooks, metadata
    return _strided_view(machine, storage, None, offset, shape, strides)


def _tensor_v3(
    machine, storage, offset, shape, strides, requires_grad, hooks, dtype, *rest
) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v3`: an untyped storage; the dtype comes with the tensor."""
    del requires_grad, hooks, rest
    if not isinstance(dtype, np.dtype):
        raise CheckpointError("the pickle gives a tensor without a dtype")
    return _strided_view(machine, storage, dtype, offset, shape, strides)


def _strided_view(machine, storage, dtype, offset, shape, strides) -> np.ndarray:
    if not isinstance(storage, Storage):
        raise CheckpointError(f"the pickle makes a tensor out of a {type(storage).__name__}")
    if (
        isinstance(shape, tuple)
        and isinstance(strides, tuple)
        and len(shape) == len(strides) <= MAX_DIMENSIONS
    ):
        plain = all(_is_count(x) for x in (offset, *shape, *strides))
    else:
        plain = False
    if not plain:
        raise CheckpointError("the pickle gives a tensor a damaged shape, stride or offset")
    dtype = storage.dtype if dtype is None else dtype
    size = dtype.itemsize
    storage_bytes = storage.count * storage.dtype.itemsize
    count = math.prod(shape)
    last = (
        offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if count
        else -1
    )
    if (last + 1) * size > storage_bytes:
        raise CheckpointError(
            f"a tensor of shape {shape} needs {last + 1} elements,"
            f" its storage holds {storage_bytes // size}"
        )
    if count * size > max(storage_bytes, MAX_EXPANDED_BYTES):
        raise CheckpointError(
            f"a tensor of shape {shape} expands a storage of {storage_bytes} bytes beyond reason"
        )
    if count == 0 or storage.data is None:
        return np.broadcast_to(np.zeros((), dtype), shape)  # takes no memory whatever the shape
    byte_strides = tuple(stride * size for stride in strides)
    if dtype == np.bool_:  # any byte but 0 is true, numpy wants exactly 1
        machine.spend(count)
        raw = np.ndarray(shape, np.uint8, storage.data, offset, byte_strides)
        return raw != 0
    return np.ndarray(shape, dtype, storage.data, offset * size, byte_strides)


def _parameter(machine: PickleMachine, tensor: Any, *rest: Any) -> np.ndarray:
    del machine, rest
    if not isinstance(tensor, np.ndarray):
        raise CheckpointError(f"the pickle makes a parameter out of a {type(tensor).__name__}")
    return tensor


def _ordered_dict(machine: PickleMachine, pairs: Any = ()) -> OrderedDict:
    result: OrderedDict[Any, Any] = OrderedDict()
    machine.spend(len(pairs))
    machine.set_items(result, [x for key, value in pairs for x in (key, value)])
    return result


def _dict(machine: PickleMachine) -> dict[str, Any]:
    del machine
    return {}


def _set(machine: PickleMachine, items: Any = ()) -> set[Any]:
    machine.spend(len(items))
    return set(check_hashable(list(items)))


def _size(machine: PickleMachine, sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, tuple) or len(sizes) > MAX_DIMENSIONS:
        raise CheckpointError("the pickle gives a damaged torch.Size")
    del machine
    return sizes


def _device(machine: PickleMachine, *parts: Any) -> str:
    del machine
    if len(parts) > 2 or not all(isinstance(part, (str, int)) for part in parts):
        raise CheckpointError("the pickle gives a damaged torch.device")
    return ":".join(str(part)[:32] for part in parts)


def _path(machine: PickleMachine, *parts: Any) -> str:
    if not all(isinstance(part, str) for part in parts):
        raise CheckpointError("the pickle gives a damaged path")
    machine.spend(sum(len(part) for part in parts))
    return "/".join(parts)


def _encoded_bytes(machine: PickleMachine, text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`: how protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise CheckpointError("the pickle gives damaged bytes")
    machine.spend(len(text))
    return text.encode("latin-1")


def _bytearray(machine: PickleMachine, content: Any = b"") -> bytes:
    if not isinstance(content, (bytes, memoryview)):
        raise CheckpointError("the pickle gives a damaged bytearray")
    machine.spend(len(content))
    return bytes(content)


def _namespace(machine: PickleMachine) -> Buildable:
    del machine
    namespace = argparse.Namespace()

    def build(machine: PickleMachine, state: Any) -> argparse.Namespace:
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise CheckpointError("the pickle gives a damaged argparse.Namespace")
        machine.spend(len(state))
        vars(namespace).update(state)
        return namespace

    return Buildable("Namespace", build, namespace)


def _numpy_dtype(machine: PickleMachine, name: Any, *rest: Any) -> Buildable:
    del machine, rest
    if not isinstance(name, str) or len(name) > 4 or name[:1] not in ("f", "i", "u", "b", "c"):
        raise CheckpointError("the pickle names a numpy dtype that is no number")
    dtype = np.dtype(name)

    def build(machine: PickleMachine, state: Any) -> np.dtype:
        del machine
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise CheckpointError("the pickle gives a damaged numpy dtype")
        return dtype.newbyteorder(state[1]) if state[1] in "<>" else dtype

    return Buildable("numpy dtype", build, dtype)


def _numpy_array(machine: PickleMachine, *rest: Any) -> Buildable:
    del machine, rest

    def build(machine: PickleMachine, state: Any) -> np.ndarray:
        _, shape, dtype, is_fortran, content = state
        if (
            not isinstance(shape, tuple)
            or len(shape) > MAX_DIMENSIONS
            or not all(_is_count(n) for n in shape)
        ):
            raise CheckpointError("the pickle gives a numpy array a damaged shape")
        return _from_bytes(machine, content, dtype, shape, "F" if is_fortran else "C")

    return Buildable("numpy array", build)


def _numpy_scalar(machine: PickleMachine, dtype: Any, content: Any) -> np.generic:
    return _from_bytes(machine, content, dtype, (), "C")[()]


def _from_bytes(
    machine: PickleMachine, content: Any, dtype: Any, shape: tuple[int, ...], order: str
) -> np.ndarray:
    if isinstance(content, str):  # a Python 2 `str`
        machine.spend(len(content))
        content = content.encode("latin-1")
    if not isinstance(dtype, np.dtype) or not isinstance(content, (bytes, memoryview)):
        raise CheckpointError("the pickle gives a numpy array of damaged type or content")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise CheckpointError(
            f"a numpy array of shape {shape} and {dtype} does not have {len(content)} bytes"
        )
    return np.ndarray(shape, dtype, content, order=order)


def _table() -> dict[str, Constructor]:
    calls = {
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _tensor_v3,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch.Size": _size,
        "torch.device": _device,
        "collections.OrderedDict": _ordered_dict,
        "argparse.Namespace": _namespace,
        "pathlib.PosixPath": _path,
        "pathlib.WindowsPath": _path,
        "_codecs.encode": _encoded_bytes,
        "numpy.dtype": _numpy_dtype,
    }
    for builtins in ("builtins", "__builtin__"):  # Python 3 and 2
        calls |= {
            f"{builtins}.set": _set,
            f"{builtins}.dict": _dict,
            f"{builtins}.bytearray": _bytearray,
        }
    for multiarray in ("numpy.core.multiarray", "numpy._core.multiarray"):  # numpy 1 and 2
        calls |= {f"{multiarray}._reconstruct": _numpy_array, f"{multiarray}.scalar": _numpy_scalar}
    table = {name: Constructor(name, call=call) for name, call in calls.items()}
    values = {
        f"torch.{name}": np.dtype(dtype)
        for name, dtype in (_STORAGE_DTYPES | _TENSOR_DTYPES).items()
    }
    values["torch.storage.UntypedStorage"] = np.dtype(np.uint8)
    values["numpy.ndarray"] = "ndarray"  # mentioned as the first argument of `_reconstruct`
    return table | {name: Constructor(name, value=value) for name, value in values.items()}


CONSTRUCTORS: Mapping[str, Constructor] = _table()
