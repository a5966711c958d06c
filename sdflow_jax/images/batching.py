"""Arrays of any length through a function compiled for one batch size."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np

Rows = TypeVar("Rows")  # an array or a sequence


def pad_batch(tree: Any, batch_size: int) -> Any:
    """Repeat the last row of every array [k, ...] until it has `batch_size` rows; k is at least 1."""

    def pad(array):
        missing = batch_size - len(array)
        if missing == 0:
            return array
        return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])

    return jax.tree.map(pad, tree)


def batches_of(rows: Rows, batch_size: int) -> Iterator[Rows]:
    """The rows in order, `batch_size` at a time; the last batch may be shorter."""
    for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]


def map_batches(function: Callable[..., Any], batch_size: int, *trees: Any) -> Any:
    """Call `function` on slices of `batch_size` rows and join the results, as numpy arrays.

    The last slice is padded by repeating its last row, so that `function` is compiled once; the
    results of the padding are dropped. Only right for functions that treat the rows of a batch
    independently.

    Args:
      function: takes as many pytrees of arrays as given here, with `batch_size` rows, and returns a
        pytree of arrays with `batch_size` rows.
      batch_size: rows per call.
      *trees: pytrees of arrays, all of one nonzero length.

    Raises:
      ValueError: if there is no row, or the arrays' lengths differ.
    """
    trees = jax.tree.map(np.asarray, trees)
    lengths = {len(array) for array in jax.tree.leaves(trees)}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"expected arrays of one nonzero length, got lengths {sorted(lengths)}")
    (length,) = lengths
    pieces, waiting = [], None
    for start in range(0, length, batch_size):
        rows = slice(start, start + batch_size)
        batch = pad_batch(jax.tree.map(lambda x, rows=rows: x[rows], trees), batch_size)
        result = function(*batch)
        if start:  # fetched only now that the next is asked for, so that the device need not wait
            pieces.append(jax.device_get(waiting))
        waiting = result
    pieces.append(jax.device_get(waiting))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:length], *pieces)
