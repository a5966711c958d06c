"""Which PyTorch array is which array of ours, and in which layout: tables that convert both ways.

A converter lists `Entry` rows for a network; everything else follows from the list: the keys and
shapes that a checkpoint must have, our arrays from it, and its arrays from ours.
"""

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from converters.check import check_keys
from converters.errors import CheckpointError
from converters.mapped_pages import release
from sdflow_jax.files import networks

COUNTER = (
    "num_batches_tracked"  # batch norm's step counter, which only a momentum of None would use
)


class Layout(NamedTuple):
    """How an array is turned from PyTorch's axes to ours, and back."""

    forward: Callable[[np.ndarray], np.ndarray]
    backward: Callable[[np.ndarray], np.ndarray]


class Entry(NamedTuple):
    """One row of a table.

    Attributes:
      torch: key in the state dictionary.
      flax: path in ours, as in `networks.flatten`.
      layout: of this array.
      part: its place among the rows with the same path, where ours stacks arrays along a new first
        axis (and joins stacked vectors of a batch norm end to end); None where arrays correspond
        one to one.
    """

    torch: str
    flax: str
    layout: Layout
    part: int | None = None


VECTOR = Layout(lambda x: x, lambda x: x)
ONE_NUMBER = Layout(lambda x: x.reshape(()), lambda x: x.reshape(1))  # an axis of length 1 <-> none
LINEAR = Layout(np.transpose, np.transpose)  # (out, in) <-> (in, out)
CONV = Layout(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))  # OIHW <-> HWIO
POINTWISE = Layout(lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None])  # OI11 <-> IO
MAPS = Layout(lambda x: x.transpose(1, 2, 0), lambda x: x.transpose(2, 0, 1))  # CHW <-> HWC
PLANE = Layout(lambda x: x[0, 0], lambda x: x[None, None])  # 11HW <-> HW
CHANNELS = Layout(lambda x: x[0, :, 0, 0], lambda x: x[None, :, None, None])  # 1C11 <-> C


def one_more_axis(layout: Layout) -> Layout:
    """The same layout behind a leading axis of length one in PyTorch."""
    return Layout(lambda x: layout.forward(x[0]), lambda x: layout.backward(x)[None])


def flattened_linear(size: int) -> Layout:
    """A linear layer on a flattened map of `size` x `size`.

    Channels come first in PyTorch, last here.
    """

    def forward(x: np.ndarray) -> np.ndarray:
        channels = x.shape[1] // size**2
        return x.reshape(-1, channels, size, size).transpose(2, 3, 1, 0).reshape(-1, x.shape[0])

    def backward(x: np.ndarray) -> np.ndarray:
        channels = x.shape[0] // size**2
        return x.reshape(size, size, channels, -1).transpose(3, 2, 0, 1).reshape(x.shape[1], -1)

    return Layout(forward, backward)


def conv(torch: str, flax: str, *, bias: bool = False) -> list[Entry]:
    """Rows of a convolution."""
    kernel = [Entry(f"{torch}.weight", f"{flax}/kernel", CONV)]
    return kernel + ([Entry(f"{torch}.bias", f"{flax}/bias", VECTOR)] if bias else [])


def linear(
    torch: str, flax: str, layout: Layout = LINEAR, *, part: int | None = None
) -> list[Entry]:
    """Rows of a linear layer with bias."""
    return [
        Entry(f"{torch}.weight", f"{flax}/kernel", layout, part),
        Entry(f"{torch}.bias", f"{flax}/bias", VECTOR, part),
    ]


def batch_norm(torch: str, flax: str, *, part: int | None = None) -> list[Entry]:
    """Rows of a batch norm; its counter has none, see `to_flax`."""
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    return [Entry(f"{torch}.{old}", f"{flax}/{new}", VECTOR, part) for old, new in names.items()]


def to_flax(
    state_dict: Mapping[str, np.ndarray],
    entries: Iterable[Entry],
    network: str,
    arguments: Mapping[str, Any],
    *,
    source: str,
) -> dict[str, np.ndarray]:
    """Our arrays, as `networks.flatten` names them, from a PyTorch state dictionary.

    Args:
      state_dict: exactly the keys of `entries`; batch norm's counters may be there or not.
      entries: the table; it may leave out paths of ours that have no PyTorch counterpart.
      network: registry name of our network.
      arguments: its constructor arguments.
      source: what is converted, for the message.

    Raises:
      CheckpointError: with a table of all missing, unexpected and mis-shaped keys.
    """
    entries = list(entries)
    found = {key: value for key, value in state_dict.items() if key.rsplit(".", 1)[-1] != COUNTER}
    shapes = networks.expected_shapes(network, arguments)
    check_keys(found, _torch_shapes(entries, shapes), source=source)
    parts: dict[str, list[Entry]] = {}
    for entry in entries:
        parts.setdefault(entry.flax, []).append(entry)
    flat = {}
    for path, rows in parts.items():
        arrays = [row.layout.forward(np.asarray(found[row.torch], np.float32)) for row in rows]
        # `ascontiguousarray` would give an array of no dimensions one; so too below.
        flat[path] = np.asarray(np.stack(arrays).reshape(shapes[path]), order="C")
        release(found[rows[0].torch])
        if not np.isfinite(flat[path]).all():
            keys = ", ".join(row.torch for row in rows[:3])
            raise CheckpointError(
                f"{source}: {keys} has infinite or undefined entries; did its training diverge?"
            )
    return flat


def to_torch(flat: Mapping[str, np.ndarray], entries: Iterable[Entry]) -> dict[str, np.ndarray]:
    """The PyTorch state dictionary of our arrays; batch norm's counters are 0."""
    entries = list(entries)
    counts = collections.Counter(entry.flax for entry in entries)
    state_dict: dict[str, np.ndarray] = {}
    for entry in entries:
        array = np.asarray(flat[entry.flax])
        if entry.part is not None:
            stacked = array.reshape(counts[entry.flax], -1) if entry.layout is VECTOR else array
            array = stacked[entry.part]
        state_dict[entry.torch] = np.asarray(entry.layout.backward(array), order="C")
        if entry.flax.endswith("/var"):  # a batch norm's, see `batch_norm`
            counter = entry.torch.removesuffix("running_var") + COUNTER
            state_dict[counter] = np.zeros((), np.int64)
    return state_dict


def _torch_shapes(
    entries: Sequence[Entry], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    # The layouts themselves tell the shapes, of arrays of bytes that nobody fills.
    empty = {entry.flax: np.empty(shapes[entry.flax], np.int8) for entry in entries}
    torch = to_torch(empty, entries)
    return {entry.torch: torch[entry.torch].shape for entry in entries}
